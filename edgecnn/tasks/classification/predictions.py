"""Predictions of a classifier: the class of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def top1(logits: np.ndarray) -> np.ndarray:
    """Predicted class per image; an answer that is not finite is no class at all (-1)."""
    import numpy as np

    predicted: np.ndarray = logits.argmax(axis=1)
    predicted[~np.isfinite(logits).all(axis=1)] = -1
    return predicted
