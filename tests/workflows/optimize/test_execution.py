"""Execution holds a stage to what it promised, and to nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from edgecnn.config.devices import load_device
from edgecnn.config.recipe import Recipe
from edgecnn.core.artifact import Artifact, Kind, sha256_of
from edgecnn.core.errors import StepError
from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context, Stage
from edgecnn.core.store import Store
from edgecnn.workflows.optimize.execution import Execution, execute
from edgecnn.workflows.optimize.planning import RunContext, checkpoint_artifact, plan_stages


class Promise(Stage):
    """Promises FP32 in the format; makes what its options say."""

    kind: ClassVar[str] = "promise"
    format: str = "onnx"
    precision: str = "fp32"
    writes: bool = True

    def produces(self, source: Kind, wanted: str) -> Kind | None:  # type: ignore[override]
        return Kind("onnx", "fp32") if source.format == "torch" else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        path = context.workdir / "model.onnx"
        if self.writes:
            path.write_bytes(b"model")
        sha256 = sha256_of(path) if self.writes else ""
        return Artifact(path, cast("Any", self.format), cast("Any", self.precision), (), (), sha256)


def run(folder: Path, **options: Any) -> Execution:
    (folder / "checkpoint").write_bytes(b"")
    data = SimpleNamespace(preprocessing=Preprocessing(), calibration=SimpleNamespace(digest=""), training=None)
    model = cast("Any", SimpleNamespace(sha256="network"))
    context = RunContext(model, cast("Any", data), load_device("host"), Store(folder / "store"), ignore, seed=0)
    planned = plan_stages(Recipe(name="promise", stages=(Promise(**options),)), "onnx", context)
    return execute("onnx", planned, source=checkpoint_artifact(folder / "checkpoint", context), context=context)


def test_what_was_promised_is_an_artifact(tmp_path: Path) -> None:
    execution = run(tmp_path)
    assert not execution.failed
    assert list(execution.artifacts) == [Kind("onnx", "fp32")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "int8"}, "made onnx int8 instead of onnx fp32"),
        ({"format": "tflite"}, "made tflite fp32 instead of onnx fp32"),
        ({"writes": False}, "made no file instead of onnx fp32"),
    ],
)
def test_a_stage_that_makes_something_else_fails_and_nothing_is_stored(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    execution = run(tmp_path, **options)
    (error,) = execution.failed.values()
    assert isinstance(error, StepError)
    assert (error.code, execution.artifacts) == ("broken-promise", {})
    assert said in error.message
    assert not list((tmp_path / "store").glob("promise*"))
