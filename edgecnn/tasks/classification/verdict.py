"""Is the candidate still right? A paired judgement: both models saw the same images, so only their disagreements
count.

Notation: b images the baseline gets right and the candidate wrong, c the reverse, N images; drop = (b - c) / N in
top-1. Both bounds are one-sided at 95 %: PASS when the drop is at most `max_drop` with that confidence, FAIL when it
is above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecnn.core.errors import InputError
from edgecnn.core.outcome import Outcome
from edgecnn.statistics.proportions import clopper_pearson_upper, images_to_agree, images_to_decide, tango_bounds

if TYPE_CHECKING:
    import numpy as np

    Predictions = np.ndarray
    """int (N,): the top-1 class of each image."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Shares are in [0, 1]. Without labels `drop`, `broke` and `fixed` are None and the bounds hold for the drop's
    size.

    `images_needed` is for an INCONCLUSIVE outcome: how many images decide it with 80 % power if the models keep
    behaving as on these; None when no number does, or the outcome is already decided.
    """

    outcome: Outcome
    why: str
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    broke: int | None
    fixed: int | None
    agreement: float | None
    images_needed: int | None


def judge(baseline: Predictions, candidate: Predictions, labels: Sequence[int] | None, *, max_drop: float) -> Judgement:
    """Judge top-1 predictions against a budget `max_drop` in [0, 1). Raises InputError where lengths or budget make
    no sense.

    With labels the bounds are Tango's score interval. Without them |drop| cannot exceed the share of images on which
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
        return Judgement("INCONCLUSIVE", "no images to judge on", None, None, None, None, None, None, None)
    disagreements = int(np.count_nonzero(np.asarray(baseline) != np.asarray(candidate)))
    if labels is None:
        return _without_labels(disagreements, count, max_drop)
    truth = np.asarray(labels)
    right, still_right = np.asarray(baseline) == truth, np.asarray(candidate) == truth
    broke, fixed = int(np.count_nonzero(right & ~still_right)), int(np.count_nonzero(~right & still_right))
    return _with_labels(broke, fixed, count, max_drop, agreement=1 - disagreements / count)


def _with_labels(broke: int, fixed: int, count: int, max_drop: float, *, agreement: float) -> Judgement:
    low, high = tango_bounds(broke, fixed, count)
    outcome: Outcome = "PASS" if high <= max_drop else "FAIL" if low > max_drop else "INCONCLUSIVE"
    drop, needed, budget = (broke - fixed) / count, None, points(max_drop)
    if outcome == "PASS":
        why = f"the drop is at most {points(high)} with 95 % confidence; the budget is {budget}"
    elif outcome == "FAIL":
        why = f"the drop is at least {points(low)} with 95 % confidence; the budget is {budget}"
    else:
        needed = images_to_decide(drop, (broke + fixed) / count, max_drop)
        between = f"{points(low)} and {points(high)} (95 % each side)"
        why = f"{count} images put the drop between {between}; the budget is {budget}"
        if not max_drop:
            why += ", which only a candidate that is better can prove: allow a little, such as 0.1%"
    return Judgement(outcome, why, drop, low, high, broke, fixed, agreement, needed)


def _without_labels(disagreements: int, count: int, max_drop: float) -> Judgement:
    share, high = disagreements / count, clopper_pearson_upper(disagreements, count)
    needed = None
    if high <= max_drop:
        outcome: Outcome = "PASS"
        why = (
            f"no labels, but the two disagree on at most {points(high)} of images (95 %), so top-1 cannot drop by more"
        )
    else:
        outcome = "INCONCLUSIVE"
        needed = images_to_agree(share, max_drop)
        why = (
            f"no labels, and the two may disagree on {points(high)} of images (95 %); the budget is {points(max_drop)}"
        )
    return Judgement(outcome, why, None, -high, high, None, None, 1 - share, needed)


def would_pass(found: Judgement, *, images: int, others: int, max_drop: float) -> bool:
    """Whether a candidate judged so on `images` would pass on `others` if it behaves the same there."""
    scale = others / images
    if found.broke is None or found.fixed is None:
        missed = round((1 - (found.agreement or 0.0)) * images)
        return clopper_pearson_upper(math.ceil(missed * scale), others) <= max_drop
    broke, fixed = math.ceil(found.broke * scale), math.floor(found.fixed * scale)
    return tango_bounds(broke, fixed, others)[1] <= max_drop


def points(share: float) -> str:
    """A share as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def suspicions(
    baseline: Predictions, candidate: Predictions, labels: Sequence[int] | None, *, num_classes: int
) -> tuple[str, ...]:
    """Signs that the comparison is not what it seems: a collapsed model, a baseline no better than chance; with what
    to do."""
    import numpy as np

    count, found = len(baseline), []
    if count < 50:
        return (f"only {count} images: expect INCONCLUSIVE; add images",) if count else ()
    for name, predictions in (("baseline", baseline), ("candidate", candidate)):
        classes, counts = np.unique(np.asarray(predictions), return_counts=True)
        if num_classes > 1 and len(classes) == 1 and (labels is None or len(set(labels)) > 1):
            found.append(
                f"the {name} answers class {classes[0]} for every image: it has collapsed, or its input is wrong"
            )
        elif len(classes) > 1 and counts.max() / count > 0.95 and _largest_share(labels) < 0.8:
            share = counts.max() / count
            found.append(f"the {name} answers class {classes[counts.argmax()]} for {share:.0%} of images")
    if labels is not None:
        top1 = float(np.mean(np.asarray(baseline) == np.asarray(labels)))
        if num_classes > 2 and top1 <= 2 / num_classes:
            found.append(
                f"the baseline is right on {points(top1)} of images, chance is {points(1 / num_classes)}: "
                "check mean, std, colour order and the class map (--class-map)"
            )
    return tuple(found)


def _largest_share(labels: Sequence[int] | None) -> float:
    import numpy as np

    if labels is None:
        return 0.0
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(counts.max() / counts.sum())
