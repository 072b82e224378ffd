"""The pytest plug-in in runs of its own: a regression fails its test, a baseline file is written anew, xdist works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from colour_models import write_colours, write_model

TESTS = """
import pytest

P = dict(resize="none", crop=8, mean=(0, 0, 0), std=(1, 1, 1))
pytestmark = pytest.mark.edgecnn(data="data", max_drop="5%", **P)


def test_alike(edgecnn_check):
    assert edgecnn_check("scaled.onnx", baseline="true.onnx").judged == 120


def test_worse(edgecnn_check):
    edgecnn_check("green.onnx", baseline="true.onnx")


@pytest.mark.edgecnn(max_drop="0.1%")
def test_too_few(edgecnn_check):
    edgecnn_check("scaled.onnx", baseline="true.onnx")


def test_recorded(edgecnn_check):
    edgecnn_check("green.onnx", baseline="base.json")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's repository."""
    from edgecnn.workflows.check.command import check

    write_colours(tmp_path / "data", 40)
    write_model(tmp_path / "true.onnx")
    write_model(tmp_path / "scaled.onnx", scale=50.0)
    write_model(tmp_path / "green.onnx", favour_green=12.5)
    (tmp_path / "test_models.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider -p no:anyio\n")
    flags = {"resize": "none", "crop": 8, "mean": (0, 0, 0), "std": (1, 1, 1), "max_drop": "5%"}
    check(tmp_path / "true.onnx", data=tmp_path / "data", save=tmp_path / "base.json", **flags)  # type: ignore[arg-type]
    return tmp_path


def run(project: Path, *arguments: str, alone: bool = False) -> tuple[int, str]:
    """`alone`: without the plug-ins of other packages, which may import what they like."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if alone:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_what_is_worse_fails_and_says_why(project: Path) -> None:
    code, said = run(project, "-n", "2", "--edgecnn-report", "pages")
    assert code == 1 and "3 failed, 1 passed" in said, said
    assert re.search(r"FAIL +the drop is at least [0-9.]+ % with 95 % confidence; the budget is 5.00 %", said)
    assert re.search(r"INCONCLUSIVE +120 images put the drop between", said)
    assert "Traceback" not in said and "pytest_plugin.py" not in said
    pages = sorted(path.parent.name for path in (project / "pages").glob("*/check.html"))
    assert len(pages) == 4 and pages[0].startswith("test_models.py-test_alike")


def test_a_baseline_file_is_written_anew_on_request(project: Path) -> None:
    before = (project / "base.json").read_text()
    code, said = run(project, "-k", "recorded", "--edgecnn-update")
    assert code == 0 and "1 passed" in said, said
    assert (project / "base.json").read_text() != before
    assert run(project, "-k", "recorded")[0] == 0
    (project / "base.json").unlink()
    code, said = run(project, "-k", "recorded")
    assert code == 1 and "error[no-baseline]" in said and "Traceback" not in said
    assert run(project, "-k", "recorded", "--edgecnn-update")[0] == 0 and (project / "base.json").is_file()


def test_it_is_light_when_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing():\n"
        "    assert 'edgecnn.testing.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'numpy', 'onnx', 'pydantic', 'rich'} & set(sys.modules)\n"
    )
    code, said = run(tmp_path, "-p", "no:cacheprovider", "-p", "edgecnn.testing.pytest_plugin", alone=True)
    assert code == 0, said


def test_a_check_without_a_baseline_says_what_is_missing(project: Path) -> None:
    (project / "test_models.py").write_text(
        "def test_it(edgecnn_check):\n    edgecnn_check('true.onnx', data='data')\n"
    )
    code, said = run(project)
    assert code == 1 and "edgecnn_check needs baseline=" in said
