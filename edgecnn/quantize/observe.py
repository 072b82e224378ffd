"""Calibration: stream images through a float model and keep, per tensor, extrema and a histogram. Never activations.

Memory is flat in the number of images. The half-done state is written to the scratch folder every few seconds, so
a run that was killed in the middle goes on from there.
"""

from __future__ import annotations

import io
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.errors import StepError
from edgecnn.core.events import Listener, Progress
from edgecnn.core.stage import Images
from edgecnn.core.store import write_atomically
from edgecnn.quantize.estimate import estimate
from edgecnn.quantize.histogram import Histogram
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import RangeTable

Runner = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Float32 NCHW images in, activations by tensor name out."""

SAVE_EVERY_S = 2.0


def observe(
    run: Runner, images: Images, *, options: QuantizeOptions, symmetric: bool, scratch: Path, listener: Listener
) -> RangeTable:
    """Ranges of every tensor `run` returns, over all `images`, by the observer in `options`.

    `symmetric` says which grid the ranges are for: observers that weigh clipping against rounding need to know. Raises
    StepError when there are no images or a tensor is not finite.
    """
    saved = scratch / "observed.npz"
    done, histograms = _resume(saved, images.digest)
    last_saved = time.monotonic()
    position = 0
    for batch in images.batches(1):
        position += len(batch)
        if position <= done:
            continue
        for name, values in run(batch).items():
            histograms.setdefault(name, Histogram()).add(values)
        done = position
        listener(Progress("calibrate", done, len(images), "images"))
        if time.monotonic() - last_saved > SAVE_EVERY_S:
            _save(saved, images.digest, done, histograms)
            last_saved = time.monotonic()
    if not done:
        raise StepError("no-images", "there are no images to calibrate on", hint="give some with --data")
    return RangeTable({name: estimate(found, options, symmetric=symmetric) for name, found in histograms.items()})


def _save(path: Path, digest: str, done: int, histograms: Mapping[str, Histogram]) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"{index}": found.counts for index, found in enumerate(histograms.values())}
    facts = np.array([found.facts() for found in histograms.values()], dtype=np.float64)
    names = np.array(list(histograms), dtype=np.str_)
    np.savez(buffer, names=names, facts=facts, done=np.array(done), digest=np.array(digest), **arrays)
    write_atomically(path, buffer.getvalue())


def _resume(path: Path, digest: str) -> tuple[int, dict[str, Histogram]]:
    """The images done and what they showed; nothing when the file is of other images or damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            if str(saved["digest"]) != digest:
                return 0, {}
            restored = {
                str(name): Histogram.restore(saved[f"{index}"], facts)
                for index, (name, facts) in enumerate(zip(saved["names"], saved["facts"], strict=True))
            }
            return int(saved["done"]), restored
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return 0, {}
