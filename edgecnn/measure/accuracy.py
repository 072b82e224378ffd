"""What the exported file answers, in the runtime that will run it: logits from a fresh process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError
from edgecnn.core.events import Finished, Progress, Started, Tell
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.measure.local import run_job

CHUNK_BYTES = 256 << 20
"""Pixels on disk at a time; the next chunk is decoded when this one is done."""
READ_BATCH = 64
TIMEOUT_S = 6 * 3600.0


def logits(
    artifact: Artifact,
    images: Images,
    *,
    backend: str,
    threads: int,
    tell: Tell,
    preprocessing: Preprocessing | None = None,
    options: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """float32 (N, classes) of all images, computed by the probe; normalised with `preprocessing`, else the images'
    own.

    `options` go to the backend. A `tensorrt` file on ONNX Runtime is computed as written unless they say otherwise:
    its Q/DQ pairs stay float arithmetic on the quantization grid, which is what TensorRT's integer kernels round to.
    """
    preprocessing = preprocessing or getattr(images, "preprocessing", None)
    if preprocessing is None:
        raise InputError(
            "no-preprocessing", "accuracy needs the mean and std of the images", hint="pass `preprocessing`"
        )
    stand_in = {"graph_optimization": "disabled"} if (artifact.format, backend) == ("tensorrt", "onnxruntime") else {}
    job = {
        "verb": "accuracy",
        "backend": backend,
        "model": str(artifact.path),
        "threads": threads,
        "options": {**stand_in, **(options or {})},
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    step, total, begin = f"accuracy {artifact.path.name}", len(images), time.monotonic()
    tell(Started(step))
    parts: list[np.ndarray] = []
    with tempfile.TemporaryDirectory(prefix="edgecnn-accuracy-") as folder:
        pixels, answers = Path(folder) / "pixels.npy", Path(folder) / "logits.npy"
        for start in _chunks(images, pixels):
            run_job(
                {**job, "pixels": str(pixels), "output": str(answers)},
                on_event=partial(_forward, tell, step, start, total),
                timeout_s=TIMEOUT_S,
            )
            parts.append(np.load(answers, allow_pickle=False))
    tell(Finished(step, time.monotonic() - begin))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _forward(tell: Tell, step: str, before: int, total: int, event: Mapping[str, Any]) -> None:
    tell(Progress(step, before + event["done"], total, "images"))


def _chunks(images: Images, path: Path) -> Iterator[int]:
    """Write `path` chunk by chunk, yielding the number of images before each; one chunk lies on disk at a time."""
    remaining, before, held = len(images), 0, 0
    chunk: np.memmap[Any, Any] | None = None
    for batch in images.pixels(READ_BATCH):
        while len(batch):
            if chunk is None:
                size = max(1, min(remaining, CHUNK_BYTES // batch[0].nbytes))
                chunk = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(size, *batch.shape[1:]))
                held = 0
            part, batch = batch[: len(chunk) - held], batch[len(chunk) - held :]
            chunk[held : held + len(part)] = part
            held += len(part)
            if held == len(chunk):
                chunk.flush()
                yield before
                before, remaining, chunk = before + held, remaining - held, None
    if chunk is not None:
        raise InputError("images-missing", f"{len(images)} images were announced but only {before + held} came")
