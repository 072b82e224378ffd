from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Finished, Progress, ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.files import open_artifact
from edgecnn.predict import runtime

PREPROCESSING = Preprocessing(crop=(8, 8), resize=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Pixels:
    """Images in memory."""

    labels = None
    digest = "pixels"

    def __init__(self, count: int, announced: int | None = None) -> None:
        self._pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        self._announced = count if announced is None else announced

    def __len__(self) -> int:
        return self._announced

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self._pixels), size):
            yield self._pixels[start : start + size]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for batch in self.pixels(size):
            x = (batch / np.float32(255) - np.float32(PREPROCESSING.mean)) / np.float32(PREPROCESSING.std)
            yield x.transpose(0, 3, 1, 2).astype(np.float32)

    def take(self, count: int) -> Pixels:
        raise NotImplementedError


def expected(model: Path, images: Pixels) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": one})[0] for one in images.batches(1)])


def test_logits_are_those_of_the_file_in_its_runtime(make_onnx: Callable[..., Path]) -> None:
    model, images = make_onnx("m.onnx"), Pixels(130)
    events: list[Event] = []
    artifact = open_artifact(model)
    found = runtime.run_file(
        artifact, images, backend="onnxruntime", threads=1, listener=events.append, preprocessing=PREPROCESSING
    )
    assert found.shape == (130, 5) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected(model, images), atol=1e-5)
    assert isinstance(events[-1], Finished)
    assert any(isinstance(event, Progress) and event.total == 130 for event in events)


def test_chunks_that_do_not_fit_the_batches_give_the_same_rows(
    make_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "CHUNK_BYTES", 50 * 8 * 8 * 3)
    model, images = make_onnx("m.onnx"), Pixels(130)
    done: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, Progress):
            done.append(event.done)

    found = runtime.run_file(
        open_artifact(model), images, backend="onnxruntime", threads=1, listener=listener, preprocessing=PREPROCESSING
    )
    np.testing.assert_allclose(found, expected(model, images), atol=1e-5)
    assert done == sorted(done) and done[-1] > 100


def test_the_images_own_preprocessing_is_used_when_none_is_given(make_onnx: Callable[..., Path]) -> None:
    model, images = make_onnx("m.onnx"), Pixels(3)
    images.preprocessing = PREPROCESSING  # type: ignore[attr-defined]
    found = runtime.run_file(open_artifact(model), images, backend="onnxruntime", threads=1, listener=ignore)
    np.testing.assert_allclose(found, expected(model, images), atol=1e-5)
    with pytest.raises(InputError, match="mean and std"):
        runtime.run_file(open_artifact(model), Pixels(3), backend="onnxruntime", threads=1, listener=ignore)


def test_no_images_give_no_rows(make_onnx: Callable[..., Path]) -> None:
    artifact = open_artifact(make_onnx("m.onnx"))
    found = runtime.run_file(
        artifact, Pixels(0), backend="onnxruntime", threads=1, listener=ignore, preprocessing=PREPROCESSING
    )
    assert found.shape[0] == 0


def test_images_that_do_not_come_are_not_made_up(make_onnx: Callable[..., Path]) -> None:
    artifact = open_artifact(make_onnx("m.onnx"))
    with pytest.raises(InputError, match="10 images were announced but only 4 came"):
        runtime.run_file(
            artifact, Pixels(4, 10), backend="onnxruntime", threads=1, listener=ignore, preprocessing=PREPROCESSING
        )


@pytest.mark.parametrize(
    ("kind", "given", "used"),
    [
        ("onnx", None, {}),
        ("tensorrt", None, {"graph_optimization": "disabled"}),
        ("tensorrt", {"graph_optimization": "basic"}, {"graph_optimization": "basic"}),
    ],
)
def test_a_tensorrt_file_is_computed_as_written(
    kind: str,
    given: dict[str, str] | None,
    used: dict[str, str],
    make_onnx: Callable[..., Path],
) -> None:
    seen: list[object] = []

    def run(job: dict[str, object], *, outputs: dict[str, Path], **_: object) -> dict[str, object]:
        seen.append(job["options"])
        np.save(outputs["output"], np.zeros((2, 5), np.float32))
        return {}

    device = SimpleNamespace(name="fake", local=False, run=run)
    artifact = replace(open_artifact(make_onnx("m.onnx")), format=kind)  # type: ignore[arg-type]
    runtime.run_file(
        artifact,
        Pixels(2),
        backend="onnxruntime",
        threads=1,
        listener=ignore,
        device=device,
        preprocessing=PREPROCESSING,
        options=given,
    )
    assert seen == [used]


def test_images_of_another_size_are_the_runtimes_error(make_onnx: Callable[..., Path]) -> None:
    artifact = open_artifact(make_onnx("m.onnx", width=16))
    with pytest.raises(StepError) as caught:
        runtime.run_file(
            artifact, Pixels(2), backend="onnxruntime", threads=1, listener=ignore, preprocessing=PREPROCESSING
        )
    assert caught.value.code == "cannot-run"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One megabyte, where this process may mount a file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "edgecnn-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if sys.platform == "linux" else None
    if done is None or done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip() if done else sys.platform}")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607


def test_a_full_temporary_folder_is_called_so(
    make_onnx: Callable[..., Path], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    artifact = open_artifact(make_onnx("m.onnx"))
    with pytest.raises(StepError) as caught:
        runtime.run_file(
            artifact, Pixels(8000), backend="onnxruntime", threads=1, listener=ignore, preprocessing=PREPROCESSING
        )
    assert caught.value.code == "cannot-write" and "No space left" in caught.value.why
    assert "TMPDIR" in caught.value.hint
    assert list(small_disk.iterdir()) == []


def test_a_temporary_folder_that_refuses_is_called_so(
    make_onnx: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    artifact = open_artifact(make_onnx("m.onnx"))
    with pytest.raises(StepError, match="cannot write") as caught:
        runtime.run_file(
            artifact, Pixels(2), backend="onnxruntime", threads=1, listener=ignore, preprocessing=PREPROCESSING
        )
    assert caught.value.code == "cannot-write" and "TMPDIR" in caught.value.hint
