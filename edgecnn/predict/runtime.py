"""Outputs of an exported file in the runtime that will run it, from a fresh process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener, Progress, timed
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.core.store import CannotWrite
from edgecnn.core.temporary import temporary_folder
from edgecnn.core.third_party import LONGEST_NOTE, sanitize
from edgecnn.formats.registry import format_named
from edgecnn.measure.device import Device, ThisMachine

CHUNK_BYTES = 256 << 20
"""Pixels on disk at a time; the next chunk is decoded when this one is done."""
READ_BATCH = 64
TIMEOUT_S = 6 * 3600.0


def run_file(
    artifact: Artifact,
    images: Images,
    *,
    backend: str,
    threads: int,
    listener: Listener,
    device: Device | None = None,
    preprocessing: Preprocessing | None = None,
    options: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """The first output for all images, float32 (N, ...), computed by the probe on `device`, this host unless given.

    Images are normalised with `preprocessing`, else with their own.

    `options` go to the backend. A `tensorrt` file on ONNX Runtime is computed as written unless they say otherwise:
    its Q/DQ pairs stay float arithmetic on the quantization grid, which is what TensorRT's integer kernels round to.
    """
    preprocessing = preprocessing or getattr(images, "preprocessing", None)
    if preprocessing is None:
        raise InputError(
            "no-preprocessing", "accuracy needs the mean and std of the images", hint="pass `preprocessing`"
        )
    job = {
        "verb": "accuracy",
        "backend": backend,
        "threads": threads,
        "options": {**format_named(artifact.format).backend_options(backend), **(options or {})},
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    device = device or ThisMachine()
    step, total = f"accuracy {artifact.path.name}", len(images)
    parts: list[np.ndarray] = []
    with timed(listener, step), _temporary_folder() as folder:
        pixels, answers = folder / "pixels.npy", folder / "outputs.npy"
        for start in _chunks(images, pixels):
            device.run(
                job,
                files={"model": artifact.path, "pixels": pixels},
                outputs={"output": answers},
                on_event=partial(_forward, listener, step, start, total),
                timeout_s=TIMEOUT_S,
            )
            parts.append(_answers(answers, len(np.load(pixels, mmap_mode="r", allow_pickle=False)), device.name))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _answers(path: Path, rows: int, name: str) -> np.ndarray:
    """What device `name` answered to a chunk. Raises StepError for anything but float32 with a row for each image."""
    outputs: np.ndarray = np.load(path, allow_pickle=False)
    if outputs.ndim < 2 or len(outputs) != rows or outputs.dtype != np.float32:
        raise StepError(
            "bad-answer",
            f"{name} answered {rows} images with an array of shape {list(outputs.shape)} and type {outputs.dtype}",
            hint="run it again; if it happens twice, look at the board",
        )
    return outputs


def _forward(listener: Listener, step: str, before: int, total: int, event: Mapping[str, Any]) -> None:
    done = event.get("done", 0)
    if isinstance(done, int) and 0 <= done <= total - before:
        listener(Progress(step, before + done, total, "images", sanitize(event.get("name", ""), LONGEST_NOTE)))


def _chunks(images: Images, path: Path) -> Iterator[int]:
    """Write `path` chunk by chunk, yielding the number of images before each; one chunk lies on disk at a time."""
    remaining, before, held, size = len(images), 0, 0, 0
    for batch in images.pixels(READ_BATCH):
        while len(batch):
            if held == 0:
                size = max(1, min(remaining, CHUNK_BYTES // batch[0].nbytes))
                _write(path, _header((size, *batch.shape[1:]), batch.dtype), mode="wb")
            part, batch = batch[: size - held], batch[size - held :]
            _write(path, part.tobytes(), mode="ab")
            held += len(part)
            if held == size:
                yield before
                before, remaining, held = before + held, remaining - held, 0
    if held:
        raise InputError("images-missing", f"{len(images)} images were announced but only {before + held} came")


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _write(path: Path, content: bytes, *, mode: str) -> None:
    """Not through a memory map: on a full disk that is a SIGBUS, and no error says why."""
    with _refusals(path.parent), path.open(mode) as stream:
        stream.write(content)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    with contextlib.ExitStack() as held:
        with _refusals("the folder for temporary files"):
            name = held.enter_context(temporary_folder("accuracy"))
        yield Path(name)


@contextlib.contextmanager
def _refusals(folder: Path | str) -> Iterator[None]:
    """What the disk refuses, as StepError."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            "cannot-write",
            f"cannot write {folder}",
            why=error.strerror or str(error),
            hint=f"images take up to {CHUNK_BYTES >> 20} MiB there: free some space, or TMPDIR=FOLDER edgecnn ...",
        ) from error
