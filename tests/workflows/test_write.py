"""What a run leaves behind is that run's alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecnn.core.artifact import Artifact, FormatName, Kind, Precision
from edgecnn.core.device import Deployment
from edgecnn.core.store import one_at_a_time
from edgecnn.report.facts import (
    BudgetFacts,
    CheckpointFacts,
    DataFacts,
    ModelFacts,
    PlaceFacts,
    Provenance,
    RecipeFacts,
    RequestFacts,
)
from edgecnn.report.model import Report
from edgecnn.tasks.classification.task import TASK
from edgecnn.workflows.optimize.assessment import Assessment
from edgecnn.workflows.optimize.output import write_run

KINDS: tuple[tuple[FormatName, Precision], ...] = (("onnx", "fp32"), ("onnx", "int8"), ("tflite", "int8"))


def report() -> Report:
    return Report(
        title="model.pth for a board",
        outcome="INCONCLUSIVE",
        outcome_why="no images",
        target={"name": "host", "title": "host"},
        host={},
        measured_on="a CPU (1 thread)",
        elsewhere="",
        model=ModelFacts("tests:tiny", "0" * 64, parameters=1, input_shape=(3, 8, 8)),
        data=DataFacts(),
        recipe=RecipeFacts("int8"),
        max_drop=0.01,
        profile="smoke",
        rows=(),
    )


@pytest.fixture
def made(tmp_path: Path) -> dict[Kind, Assessment]:
    found = {}
    for format, precision in KINDS:
        path = tmp_path / f"work.{precision}.{'tflite' if format == 'tflite' else 'onnx'}"
        path.write_text(f"{format} {precision}")
        artifact = Artifact(path, format, precision, (), (), "")
        deployment = {
            "onnx": Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
            "tflite": Deployment(format="tflite", backend="tflite", family="litert"),
        }[format]
        found[artifact.kind] = Assessment(artifact, deployment, deployment.backend, SimpleNamespace())
    return found


def provenance(host: str) -> Provenance:
    return Provenance(
        checkpoint=CheckpointFacts("model.pth", "0" * 64),
        request=RequestFacts("host", ("onnx",), BudgetFacts(), "smoke", threads=1, seed=0),
        model=report().model,
        data={},
        preprocessing={},
        recipe=report().recipe,
        versions={},
        host={"name": host},
        device={},
        ran_on=PlaceFacts(local=True, facts={}, runtimes={}),
    )


def write(
    out: Path, found: dict[Kind, Assessment], kinds: Sequence[tuple[FormatName, Precision]], *, host: str = "here"
) -> None:
    chosen = {Kind(*kind): found[Kind(*kind)] for kind in kinds}
    data: Any = SimpleNamespace(preprocessing=None, class_names=())
    made = provenance(host)
    write_run(
        out, report(), assessments=chosen, networks={}, data=data, decoder=TASK.decoder, provenance=made, samples=None
    )


def test_artifacts_of_an_earlier_run_are_removed(tmp_path: Path, made: dict[Kind, Assessment]) -> None:
    out = tmp_path / "out"
    write(out, made, KINDS)
    kept = {"model.engine", "notes.txt", "model.tensorrt.int8.engine"}
    for name in kept:
        (out / "artifacts" / name).touch()
    write(out, made, KINDS[:1])
    assert {path.name for path in (out / "artifacts").iterdir()} == {"model.fp32.onnx"} | kept


def test_two_runs_do_not_mix_their_results(tmp_path: Path, made: dict[Kind, Assessment]) -> None:
    out = tmp_path / "out"
    write(out, made, KINDS[:1], host="first")
    with one_at_a_time(out / ".store" / "write.lock"):
        second = threading.Thread(target=lambda: write(out, made, KINDS, host="second"))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert json.loads((out / "run.json").read_text())["host"] == {"name": "first"}
        assert len(list((out / "artifacts").iterdir())) == 1
    second.join(10)
    assert json.loads((out / "run.json").read_text())["host"] == {"name": "second"}
    assert len(list((out / "artifacts").iterdir())) == 3
