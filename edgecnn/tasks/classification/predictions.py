"""Predictions of a classifier: the class of each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def at(positions: Sequence[int] | None, values: np.ndarray) -> np.ndarray:
    """The values, one for each evaluation image, at `positions`; None for all."""
    return values if positions is None else values[list(positions)]


def top1(logits: np.ndarray) -> np.ndarray:
    """Predicted class per image; an answer that is not finite is no class at all (-1)."""
    predicted: np.ndarray = logits.argmax(axis=1)
    predicted[~np.isfinite(logits).all(axis=1)] = -1
    return predicted
