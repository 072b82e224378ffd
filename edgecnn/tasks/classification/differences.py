"""Differences between two classifiers on the same images: top-5, each class, the images whose answer broke.

A class is an alarm where its images show that it loses more than is allowed. Many classes are looked at, so the share
of false ones among the alarms is controlled: at most 5 % are expected. Source: Y. Benjamini and Y. Hochberg,
Controlling the false discovery rate, Journal of the Royal Statistical Society B 57 (1995) 289-300. The classes' images
are different ones, so their tests are independent, as the method asks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.statistics.proportions import drop_bounds, drop_confidence
from edgecnn.tasks.classification.metrics import TOP_K, calibration_error, percent, probabilities_of, within_top
from edgecnn.tasks.classification.predictions import top1
from edgecnn.tasks.differences import BrokenAnswer, Differences, GroupChange
from edgecnn.tasks.task import Answers

FALSE_DISCOVERY = 0.05
"""The share of alarms that may be false."""
WORST = 32
"""How many broken answers are listed one by one."""


def differences(
    baseline: Answers, candidate: Answers, names: Sequence[str], *, max_class_drop: float, confidence: float
) -> Differences:
    """What differs, in detail; the answers are to the same images in the same order. Without labels, the images that
    are answered otherwise."""
    before, after = top1(baseline.outputs), top1(candidate.outputs)
    if candidate.labels is None:
        changed = np.flatnonzero(before != after)
        return Differences((), (), _broken(candidate, names, changed, reference=before))
    truth = np.asarray(candidate.labels, np.int64)
    right, still_right = before == truth, after == truth
    figures = [_figure("top-1", right, still_right, confidence)]
    if len(names) > TOP_K:
        inside = [within_top(answers.outputs, truth, TOP_K) for answers in (baseline, candidate)]
        figures.append(_figure("top-5", inside[0], inside[1], confidence))
    error, other = (_calibration_error(answers, truth) for answers in (baseline, candidate))
    figures.append(("calibration error", percent(error), percent(other), f"{100 * (other - error):+.2f} points", ""))
    broke = np.flatnonzero(right & ~still_right)
    groups = _classes(right, still_right, truth, names, max_class_drop)
    return Differences(tuple(figures), groups, _broken(candidate, names, broke, reference=truth))


def _classes(
    right: np.ndarray, still_right: np.ndarray, truth: np.ndarray, names: Sequence[str], max_drop: float
) -> tuple[GroupChange, ...]:
    """Each class that has images, the largest drop first; the alarms before the others."""
    from scipy.stats import false_discovery_control

    count = len(names)
    images = np.bincount(truth, minlength=count)
    broke = np.bincount(truth[right & ~still_right], minlength=count)
    fixed = np.bincount(truth[~right & still_right], minlength=count)
    present = np.flatnonzero(images).tolist()
    # How probable so many broken images are in a class that loses no more than is allowed, at most.
    confidence = drop_confidence(fixed[present], broke[present], images[present], -max_drop)
    adjusted = false_discovery_control(np.clip(1 - confidence, 0, 1), method="bh")
    changes = [
        GroupChange(
            names[place],
            int(images[place]),
            int(broke[place]),
            int(fixed[place]),
            float(chance),
            alarm=bool(chance <= FALSE_DISCOVERY),
        )
        for place, chance in zip(present, adjusted, strict=True)
    ]
    return tuple(sorted(changes, key=lambda change: (not change.alarm, -change.drop, change.name)))


def _broken(
    candidate: Answers, names: Sequence[str], rows: np.ndarray, *, reference: np.ndarray
) -> tuple[BrokenAnswer, ...]:
    """The surest of the answers in `rows`, which differ from `reference`."""
    after = top1(candidate.outputs)
    probabilities = probabilities_of(np.array(candidate.outputs[rows]))[0] if len(rows) else candidate.outputs[rows]
    confidence = probabilities[np.arange(len(rows)), after[rows]]
    order = np.argsort(-confidence, kind="stable")[:WORST]
    return tuple(
        BrokenAnswer(int(rows[at]), names[reference[rows[at]]], names[after[rows[at]]], float(confidence[at]))
        for at in order
    )


def _calibration_error(answers: Answers, truth: np.ndarray) -> float:
    probabilities, predicted = probabilities_of(np.array(answers.outputs))[0], top1(answers.outputs)
    return calibration_error(probabilities[np.arange(len(truth)), predicted], predicted == truth)


def _figure(name: str, before: np.ndarray, after: np.ndarray, confidence: float) -> tuple[str, str, str, str, str]:
    """A share of the images that are right, on both sides, and its change with the bounds of it, each one-sided."""
    broke, fixed = int(np.count_nonzero(before & ~after)), int(np.count_nonzero(~before & after))
    low, high = drop_bounds(broke, fixed, len(before), confidence)
    shares = float(before.mean()), float(after.mean())
    bounds = f"{-100 * high:+.2f} … {-100 * low:+.2f}"
    return name, percent(shares[0]), percent(shares[1]), f"{100 * (shares[1] - shares[0]):+.2f} points", bounds
