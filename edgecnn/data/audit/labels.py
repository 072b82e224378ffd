"""Label doubts of an audit: labels that a model confidently disagrees with. They may be wrong, or the images hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelDoubt:
    """Image `place` bears `label`, and the model confidently says `suggested` (class indices); how probable it holds
    either."""

    place: int
    label: int
    suggested: int
    confidence: float
    label_confidence: float


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (classes,): how probable the model holds a class on the images that bear its label, on average; infinite
    for a class that no image bears."""
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    means: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return means


def doubtful(probabilities: np.ndarray, labels: Sequence[int]) -> list[LabelDoubt]:
    """The images off the diagonal of the confident joint, the widest margin first.

    An image counts for the most probable of those classes whose `thresholds` its probability reaches, so a class the
    model is generally unsure of asks for less than one it knows well. Source: Northcutt, Jiang and Chuang, Confident
    Learning: Estimating Uncertainty in Dataset Labels, JAIR 70 (2021) 1373-1411, equation 1. Its estimates hold for
    probabilities from images the model was not trained on.
    """
    labelled = np.asarray(labels, np.int64)
    if not len(labelled):
        return []
    confident = probabilities >= thresholds(probabilities, labelled)
    suggested = np.where(confident, probabilities, -1.0).argmax(1)
    rows = np.arange(len(labelled))
    confidence, own = probabilities[rows, suggested], probabilities[rows, labelled]
    wrong = np.flatnonzero(confident.any(1) & (suggested != labelled))
    order = wrong[np.argsort(own[wrong] - confidence[wrong], kind="stable")]
    return [
        LabelDoubt(int(row), int(labelled[row]), int(suggested[row]), float(confidence[row]), float(own[row]))
        for row in order
    ]
