"""The pytest plug-in: a fixture that fails a test when a model is worse than its baseline.

    def test_the_shipped_model(edgecnn_check):
        edgecnn_check("model-int8.onnx", baseline="model.pth", data="photos/", max_drop="1%")

It is loaded by every pytest run of an environment that has edgecnn: it imports nothing heavy until it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgecnn.report.check.model import RegressionCheck

MARKER = "edgecnn"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgecnn", "regression tests of models")
    group.addoption("--edgecnn-device", metavar="NAME", help="the board on which exported files run; this host")
    group.addoption(
        "--edgecnn-update", action="store_true", help="write what the candidates answer over their baseline files"
    )
    group.addoption("--edgecnn-report", metavar="DIR", help="write the pages of every check there")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARKER}(**options): options of edgecnn_check for this test, such as data= and max_drop="
    )


@pytest.fixture
def edgecnn_check(request: pytest.FixtureRequest) -> Callable[..., RegressionCheck]:
    """Judge a candidate, and fail the test unless it passes.

    Call it as `edgecnn_check(candidate, baseline=..., data=..., max_drop=...)`: `baseline` is a model, or a baseline
    file (.json). Every other option of `edgecnn.check` is taken as well, from the call first, then from the marker.
    With `--edgecnn-update` a baseline file is written anew, and does not fail.
    """
    config, defaults = request.config, _defaults(request.node)
    report, calls = config.getoption("--edgecnn-report"), 0

    def judge(candidate: str | Path, *, baseline: str | Path | None = None, **options: Any) -> RegressionCheck:
        from edgecnn.core.errors import EdgecnnError
        from edgecnn.report import text
        from edgecnn.report.check.document import document
        from edgecnn.workflows.check.command import check

        nonlocal calls
        calls += 1
        arguments = {**defaults, **options}
        if device := config.getoption("--edgecnn-device"):
            arguments["device"] = device
        origin = baseline if baseline is not None else arguments.pop("baseline", None)
        arguments.pop("baseline", None)
        if origin is None:
            raise pytest.UsageError(
                "edgecnn_check needs baseline=: a model, or a file that `edgecnn check --save` wrote"
            )
        recorded = Path(origin).suffix == ".json"
        update = bool(config.getoption("--edgecnn-update")) and recorded
        if report is not None:
            arguments.setdefault("out", Path(report) / f"{_file_name(request.node.nodeid)}-{calls}")
        try:
            if update and not Path(origin).exists():
                return check(candidate, save=origin, **arguments)
            if recorded:
                result = check(candidate, against=origin, update=update, **arguments)
            else:
                result = check([origin, candidate], **arguments)
        except EdgecnnError as error:
            pytest.fail(
                "\n".join(filter(None, (f"error[{error.code}]: {error.message}", error.why, error.hint))), pytrace=False
            )
        if result.outcome != "PASS" and not update:
            pytest.fail(text.plain(document(result)), pytrace=False)
        return result

    return judge


def _defaults(node: pytest.Item) -> Mapping[str, Any]:
    """What the markers say; the closest one last."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers(MARKER))):
        options.update(marker.kwargs)
    return options


def _file_name(node: str) -> str:
    """A name for a test's folder; the digest tells apart what only differs in characters that are left out."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', node).strip('-')[:120]}-{hashlib.sha256(node.encode()).hexdigest()[:8]}"
