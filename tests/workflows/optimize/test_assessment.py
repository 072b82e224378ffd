"""What is stored of a device's answers and times, and what makes it new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecnn.core.artifact import Artifact
from edgecnn.core.device import Connect, Deployment, DeviceProfile
from edgecnn.core.errors import StepError
from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import Store
from edgecnn.measure.connection import Connection
from edgecnn.measure.effort import profile_named
from edgecnn.tasks.classification.task import TASK
from edgecnn.workflows.optimize import assessment
from edgecnn.workflows.optimize.assessment import Assessment, answer, time_all

ONNX = Deployment(format="onnx", backend="onnxruntime", family="onnxruntime")
PI = DeviceProfile(name="pi", title="pi", deployments=(ONNX,), connect=Connect(ssh="pi"))


class Four:
    """Four grey images."""

    labels = None
    digest = "four"

    def __len__(self) -> int:
        return 4

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        yield np.zeros((4, 8, 8, 3), np.uint8)


class Answering:
    """A board that answers every image with so many numbers."""

    name, local = "pi", False

    def __init__(self, classes: int) -> None:
        self._classes = classes

    def run(self, job: Any, *, outputs: Any, **rest: Any) -> dict[str, Any]:
        np.save(outputs["output"], np.zeros((4, self._classes), np.float32))
        return {}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.prepare()
    return found


@pytest.fixture
def file(tmp_path: Path) -> Assessment:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"onnx")
    return Assessment(Artifact(path, "onnx", "fp32", (), (), "0" * 64), ONNX, "onnxruntime", SimpleNamespace())


def context(store: Store, site: Connection) -> Any:
    preprocessing = Preprocessing(crop=(8, 8), resize=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    model, data = SimpleNamespace(num_classes=10), SimpleNamespace(preprocessing=preprocessing)
    return SimpleNamespace(
        store=store, connection=site, listener=ignore, model=model, data=data, target=PI, seed=0, task=TASK
    )


def test_answers_with_another_number_of_classes_are_refused_and_not_kept(store: Store, file: Assessment) -> None:
    with pytest.raises(StepError) as caught:
        answer(file, Four(), context(store, Connection(Answering(7), {})), threads=1)  # type: ignore[arg-type]
    assert caught.value.code == "bad-answer" and "pi" in caught.value.message
    answer(file, Four(), context(store, Connection(Answering(10), {})), threads=1)  # type: ignore[arg-type]
    assert file.answers is not None and file.answers.outputs.shape == (4, 10)


def test_another_runtime_on_the_board_is_timed_anew(
    store: Store, file: Assessment, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(assessment, "measure", lambda candidates, **rest: measured.append(candidates[0].name) or [])
    for version in ("1.22.0", "1.22.0", "1.23.2"):
        site = Connection(Answering(10), {}, {"onnxruntime": version})
        time_all(
            {file.artifact.kind: file}, context(store, site), profile=profile_named("smoke"), threads=1, again=False
        )
    assert len(measured) == 2
