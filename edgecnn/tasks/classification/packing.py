"""Packed answers of a classifier: the five best classes of each image, and how sure it is of the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecnn.tasks.classification.metrics import TOP_K, probabilities_of

STEP = 1e-4
"""By which share one rank is above the next in unpacked outputs."""


def pack(outputs: np.ndarray) -> dict[str, np.ndarray]:
    """`best` (N, 5 at most), class numbers in the fewest bytes, and `confidence` (N,), float16, of logits or
    probabilities (N, classes). Of equal outputs the first class is best."""
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :TOP_K]
    probabilities = probabilities_of(np.array(outputs))[0]
    confidence = np.take_along_axis(probabilities, best[:, :1], 1)[:, 0]
    return {"best": best.astype(np.min_scalar_type(outputs.shape[1] - 1)), "confidence": confidence.astype(np.float16)}


def unpack(arrays: Mapping[str, np.ndarray], *, width: int) -> np.ndarray:
    """Log probabilities (N, width), float32, whose five best classes and whose confidence are the packed ones; the
    other classes share what is left alike. Raises KeyError or ValueError for other arrays."""
    best, confidence = arrays["best"].astype(np.int64), arrays["confidence"].astype(np.float64)
    ranks = min(TOP_K, width)
    if best.shape != (len(confidence), ranks) or (best.size and (best.min() < 0 or best.max() >= width)):
        raise ValueError(f"best classes of shape {best.shape} do not fit {width} classes")
    if any(len(set(row)) < ranks for row in best.tolist()) or not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a class stands twice among the best of one image, or a confidence is no share")
    rest = np.maximum((1 - confidence) / max(1, width - 1), 1e-12)
    probabilities = np.repeat(rest[:, None], width, axis=1)
    for rank in range(1, ranks):
        np.put_along_axis(probabilities, best[:, rank : rank + 1], (rest * (1 + STEP * (ranks - rank)))[:, None], 1)
    first = np.maximum(confidence, rest * (1 + STEP * ranks))
    np.put_along_axis(probabilities, best[:, :1], first[:, None], 1)
    logits: np.ndarray = np.log(probabilities).astype(np.float32)
    return logits
