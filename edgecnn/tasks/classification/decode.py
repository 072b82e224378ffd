"""Decoding of a classifier's output: the likeliest class and its probability. Travels in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def decode(output: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The answer to one image from its logits, float32 (classes,); `labels` are in the order of the outputs."""
    raised = np.exp(output - output.max())
    probabilities = raised / raised.sum()
    best = int(probabilities.argmax())
    return {"index": best, "label": labels[best], "probability": float(probabilities[best])}


def line(answer: dict[str, Any]) -> str:
    """What a person reads of it."""
    return "{label}\t{probability:.4f}".format(**answer)
