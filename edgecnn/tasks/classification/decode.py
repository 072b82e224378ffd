"""Decoding of a classifier's output: the likeliest class and its probability. Travels in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def decode(output: np.ndarray, labels: Sequence[str], top: int = 1) -> dict[str, Any]:
    """The answer to one image from its logits, float32 (classes,); `labels` are in the order of the outputs. With `top`
    above one the likeliest so many stand under `top`, the likeliest first."""
    raised = np.exp(output - output.max())
    probabilities = raised / raised.sum()
    best = int(probabilities.argmax())
    answer = {"index": best, "label": labels[best], "probability": float(probabilities[best])}
    if top > 1:
        likeliest = (-probabilities).argsort(kind="stable")[:top].tolist()
        answer["top"] = [{"index": i, "label": labels[i], "probability": float(probabilities[i])} for i in likeliest]
    return answer


def line(answer: dict[str, Any]) -> str:
    """What a person reads of it."""
    return "\t".join("{label}\t{probability:.4f}".format(**one) for one in answer.get("top", [answer]))
