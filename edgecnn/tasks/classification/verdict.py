"""Verdict on a classifier: a paired comparison of top-1 on the same images.

Both models saw the same images, so only their disagreements count.

Notation: b images the baseline gets right and the candidate wrong, c the reverse, N images; drop = (b - c) / N in
top-1. Both bounds are exact and one-sided, at 95 % unless asked otherwise: PASS when the drop is at most `max_drop`
with that confidence, FAIL when it is above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgecnn.core.errors import InputError
from edgecnn.core.outcome import Outcome
from edgecnn.statistics.proportions import (
    CONFIDENCE,
    clopper_pearson_upper,
    drop_bounds,
    images_to_agree,
    images_to_decide,
)
from edgecnn.tasks.task import Drop, Flips, Judgement

if TYPE_CHECKING:
    import numpy as np

    Predictions = np.ndarray
    """int (N,): the top-1 class of each image."""


def judge(
    baseline: Predictions,
    candidate: Predictions,
    labels: Sequence[int] | None,
    *,
    max_drop: float,
    confidence: float = CONFIDENCE,
) -> Judgement:
    """Judge top-1 predictions against a budget `max_drop` in [0, 1). Raises InputError where lengths or budget make
    no sense.

    With labels the bounds are those of `drop_bounds`. Without them |drop| cannot exceed the share of images on which
    the two disagree, so an upper Clopper-Pearson bound of that share within the budget still proves a PASS; nothing
    proves a FAIL.
    """
    import numpy as np

    if not 0 <= max_drop < 1:
        raise InputError("bad-budget", f"max_drop {max_drop} is not in [0, 1)", hint="write 1 % as 0.01 or 1%")
    lengths = {len(baseline), len(candidate)} | ({len(labels)} if labels is not None else set())
    if len(lengths) > 1:
        raise InputError(
            "unpaired", "the predictions and labels do not belong together", why=f"lengths {sorted(lengths)}"
        )
    count = len(baseline)
    if count == 0:
        return Judgement("INCONCLUSIVE", "no images to judge on")
    disagreements = int(np.count_nonzero(np.asarray(baseline) != np.asarray(candidate)))
    if labels is None:
        return _without_labels(disagreements, count, max_drop, confidence)
    truth = np.asarray(labels)
    right, still_right = np.asarray(baseline) == truth, np.asarray(candidate) == truth
    broke, fixed = int(np.count_nonzero(right & ~still_right)), int(np.count_nonzero(~right & still_right))
    judgement = _with_labels(Flips(broke, fixed), count, max_drop, confidence)
    return replace(judgement, agreement=1 - disagreements / count)


def _with_labels(flips: Flips, count: int, max_drop: float, confidence: float) -> Judgement:
    broke, fixed = flips.broke, flips.fixed
    low, high = drop_bounds(broke, fixed, count, confidence)
    outcome: Outcome = "PASS" if high <= max_drop else "FAIL" if low > max_drop else "INCONCLUSIVE"
    drop, needed, budget, sure = (broke - fixed) / count, None, points(max_drop), level(confidence)
    if outcome == "PASS":
        why = f"the drop is at most {points(high)} with {sure} confidence; the budget is {budget}"
    elif outcome == "FAIL":
        why = f"the drop is at least {points(low)} with {sure} confidence; the budget is {budget}"
    else:
        needed = images_to_decide(drop, (broke + fixed) / count, max_drop, confidence=confidence)
        between = f"{points(low)} and {points(high)} ({sure} each side)"
        why = f"{count} images put the drop between {between}; the budget is {budget}"
        if not max_drop:
            why += ", which only a candidate that is better can prove: allow a little, such as 0.1%"
    return Judgement(outcome, why, count, Drop(drop, low, high), None, flips, needed, confidence)


def _without_labels(disagreements: int, count: int, max_drop: float, confidence: float) -> Judgement:
    share, high = disagreements / count, clopper_pearson_upper(disagreements, count, confidence)
    needed, sure = None, level(confidence)
    if high <= max_drop:
        outcome: Outcome = "PASS"
        why = (
            f"no labels, but the two disagree on at most {points(high)} of images ({sure}), "
            "so top-1 cannot drop by more"
        )
    else:
        outcome = "INCONCLUSIVE"
        needed = images_to_agree(share, max_drop, confidence=confidence)
        why = (
            f"no labels, and the two may disagree on {points(high)} of images ({sure}); "
            f"the budget is {points(max_drop)}"
        )
    return Judgement(outcome, why, count, Drop(None, -high, high), 1 - share, None, needed, confidence)


def would_pass(judgement: Judgement, *, images: int, max_drop: float) -> bool:
    """Whether a candidate judged so would pass on so many other `images` if it behaves the same there."""
    scale, confidence = images / judgement.images, judgement.confidence
    if judgement.flips is None:
        disagreements = round((1 - (judgement.agreement or 0.0)) * judgement.images)
        return clopper_pearson_upper(math.ceil(disagreements * scale), images, confidence) <= max_drop
    broke, fixed = math.ceil(judgement.flips.broke * scale), math.floor(judgement.flips.fixed * scale)
    return drop_bounds(broke, fixed, images, confidence)[1] <= max_drop


def level(confidence: float) -> str:
    """A confidence in words: `97.5 %`."""
    return f"{100 * confidence:.4g} %"


def points(share: float) -> str:
    """A share as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def collapse(predictions: Predictions, labels: Sequence[int] | None, *, name: str, num_classes: int) -> tuple[str, ...]:
    """A sign that the network called `name` answers one class only, or almost, and what that means."""
    import numpy as np

    classes, counts = np.unique(np.asarray(predictions), return_counts=True)
    share = counts.max() / len(predictions)
    if num_classes > 1 and len(classes) == 1 and (labels is None or len(set(labels)) > 1):
        return (f"the {name} answers class {classes[0]} for every image: it has collapsed, or its input is wrong",)
    if len(classes) > 1 and share > 0.95 and _largest_share(labels) < 0.8:
        return (f"the {name} answers class {classes[counts.argmax()]} for {share:.0%} of images",)
    return ()


def chance(baseline: Predictions, labels: Sequence[int] | None, *, num_classes: int) -> tuple[str, ...]:
    """A sign that the baseline is no better than chance, with what to check."""
    import numpy as np

    top1 = float(np.mean(np.asarray(baseline) == np.asarray(labels))) if labels is not None else 1.0
    if num_classes <= 2 or top1 > 2 / num_classes:
        return ()
    return (
        f"the baseline is right on {points(top1)} of images, chance is {points(1 / num_classes)}: "
        "check mean, std, colour order and the class map (--class-map)",
    )


def _largest_share(labels: Sequence[int] | None) -> float:
    import numpy as np

    if labels is None:
        return 0.0
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(counts.max() / counts.sum())
