"""Warnings of an evaluation: a collapsed model, classes in another order, too few images."""

from __future__ import annotations

import numpy as np

from edgecnn.core.units import count, percent
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.tasks.classification.metrics import ClassificationScores

FEW_IMAGES = 100


def warnings(evaluation: Evaluation) -> list[str]:
    """What keeps the figures from being what they seem."""
    scores, images = evaluation.classification, evaluation.result.images
    lines = _of_answers(scores) if scores else []
    if "guessed" in evaluation.preprocessing_source:
        lines.append("the preprocessing was guessed: if it is wrong, so are all figures")
    if images < FEW_IMAGES:
        lines.append(f"only {count(images, 'image')}: the intervals are wide")
    missing = len(scores.classes) - len(scores.present) if scores else 0
    if missing:
        lines.append(f"{count(missing, 'class', 'classes')} of the network have no images here and are not judged")
    return lines


def _of_answers(scores: ClassificationScores) -> list[str]:
    if sum(score.predicted > 0 for score in scores.classes) == 1:
        only = next(score.name for score in scores.classes if score.predicted)
        return [f"every image is taken for '{only}': the model has collapsed, or its input is prepared wrongly"]
    if (swapped := _other_order(scores)) is not None:
        return [swapped]
    if scores.top1.low <= 1 / len(scores.present):
        return ["no better than guessing: look at the preprocessing and the order of the classes (--class-map)"]
    return []


def _other_order(scores: ClassificationScores) -> str | None:
    """Whether the answers are right but for the names of the classes: each class goes to one other."""
    rows = [score.index for score in scores.present]
    confusion = scores.confusion[rows]
    best = confusion.argmax(1)
    if len(set(best.tolist())) < len(rows) or len(rows) < 2:
        return None
    renamed = float(confusion[np.arange(len(rows)), best].sum()) / scores.images
    if renamed < scores.top1.value + 0.2 or renamed < 0.5:
        return None
    first = next(place for place, row in enumerate(rows) if best[place] != row)
    true, said = scores.classes[rows[first]].name, scores.classes[int(best[first])].name
    return (
        f"the classes seem to be in another order than the outputs: '{true}' is mostly taken for '{said}', and with "
        f"each class named so top-1 would be {percent(renamed)}; give --class-map FILE"
    )
