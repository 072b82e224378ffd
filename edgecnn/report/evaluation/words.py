"""What an evaluation found, in words: the same in every renderer."""

from __future__ import annotations

import numpy as np

from edgecnn.report.evaluation.model import Evaluation
from edgecnn.tasks.classification.metrics import BINS, ClassScore, Share

FEW_IMAGES = 100
OFF_BY = 0.01
"""A gap between confidence and accuracy that is worth a word."""


def title(evaluation: Evaluation) -> str:
    return f"{evaluation.file} on {count(evaluation.result.images, 'image')} of {classes(evaluation)}"


def classes(evaluation: Evaluation) -> str:
    """`10 classes`, or how many of the network's have images."""
    present, known = len(evaluation.result.present), len(evaluation.result.classes)
    return f"{known} classes" if present == known else f"{present} of its {known} classes"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `12,345 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def sure(confidence: float) -> str:
    """How sure the model was: never quite, after rounding."""
    return ">99.9 % sure" if confidence > 0.999 else f"{confidence * 100:.1f} % sure"


def interval(share: Share) -> str:
    return f"{share.low * 100:.2f} … {share.high * 100:.2f}"


def where(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was judged, on what, and how: (name, words)."""
    model = evaluation.model
    architecture = model.get("architecture")
    known = f"{architecture}, {model['format']}" if architecture not in (None, "unknown") else str(model["format"])
    rows = [
        ("model", known),
        ("runtime", evaluation.runtime),
        ("data", str(evaluation.data.get("source", ""))),
        ("input", f"{preprocessing(evaluation)} ({evaluation.preprocessing_source})"),
    ]
    return [*rows, ("averaged", evaluation.tta)] if evaluation.tta else rows


def preprocessing(evaluation: Evaluation) -> str:
    raw = evaluation.preprocessing
    height, width = raw["crop"]
    resize = "stretched to " if raw["stretch"] else f"resize {raw['resize']}, crop " if raw["resize"] else "crop "
    mean, std = (" ".join(f"{value:g}" for value in raw[key]) for key in ("mean", "std"))
    return f"{resize}{height}x{width}, {raw['color']}, mean {mean}, std {std}"


def figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(what, figure, remark), most important first."""
    result = evaluation.result
    rows = [("top-1 accuracy", percent(result.top1.value), f"{interval(result.top1)}, 95 % interval")]
    if result.top5 is not None:
        rows.append(("top-5 accuracy", percent(result.top5.value), interval(result.top5)))
    for name, average in (("macro", result.macro), ("weighted", result.weighted)):
        remark = f"precision {percent(average.precision)}, recall {percent(average.recall)}"
        rows.append((f"{name} F1", percent(average.f1), remark))
    rows.append(("calibration error", percent(result.calibration_error), calibration(evaluation)))
    return rows


def calibration(evaluation: Evaluation) -> str:
    """Over how many bins, and to which side the confidence is off."""
    gap = evaluation.result.confidence - evaluation.result.top1.value
    said = f"expected, {BINS} bins of equal width"
    if abs(gap) < OFF_BY:
        return f"{said}; confidence fits accuracy"
    return f"{said}; {'over' if gap > 0 else 'scoped'}confident by {abs(gap) * 100:.1f} points"


def weakest(evaluation: Evaluation) -> list[ClassScore]:
    """The classes that have images, lowest F1 first."""
    return sorted(evaluation.result.present, key=lambda score: (score.f1, -score.support, score.index))


def confused(evaluation: Evaluation, number: int) -> list[tuple[str, str, int, float]]:
    """(true class, predicted class, images, share of the true class) of the most frequent mistakes."""
    scores = evaluation.result.classes
    return [
        (scores[true].name, scores[said].name, images, images / scores[true].support)
        for true, said, images in evaluation.result.confused(number)
    ]


def warnings(evaluation: Evaluation) -> list[str]:
    """What keeps the figures from being what they seem."""
    result, lines = evaluation.result, []
    if sum(score.predicted > 0 for score in result.classes) == 1:
        only = next(score.name for score in result.classes if score.predicted)
        lines.append(f"every image is taken for '{only}': the model has collapsed, or its input is prepared wrongly")
    elif (swapped := _other_order(evaluation)) is not None:
        lines.append(swapped)
    elif result.top1.low <= 1 / len(result.present):
        lines.append("no better than guessing: look at the preprocessing and the order of the classes (--class-map)")
    if "guessed" in evaluation.preprocessing_source:
        lines.append("the preprocessing was guessed: if it is wrong, so are all figures")
    if result.images < FEW_IMAGES:
        lines.append(f"only {count(result.images, 'image')}: the intervals are wide")
    missing = len(result.classes) - len(result.present)
    if missing:
        lines.append(f"{count(missing, 'class', 'classes')} of the network have no images here and are not judged")
    return lines


def _other_order(evaluation: Evaluation) -> str | None:
    """Whether the answers are right but for the names of the classes: each class goes to one other."""
    result = evaluation.result
    rows = [score.index for score in result.present]
    confusion = result.confusion[rows]
    best = confusion.argmax(1)
    if len(set(best.tolist())) < len(rows) or len(rows) < 2:
        return None
    renamed = float(confusion[np.arange(len(rows)), best].sum()) / result.images
    if renamed < result.top1.value + 0.2 or renamed < 0.5:
        return None
    first = next(place for place, row in enumerate(rows) if best[place] != row)
    true, said = result.classes[rows[first]].name, result.classes[int(best[first])].name
    return (
        f"the classes seem to be in another order than the outputs: '{true}' is mostly taken for '{said}', and with "
        f"each class named so top-1 would be {percent(renamed)}; give --class-map FILE"
    )


def rest(shown: int, total: int, place: str) -> str:
    """`and 12 more, all of them in evaluation.md`; empty where all are shown."""
    if total <= shown:
        return ""
    return f"and {total - shown:,} more{f', all of them in {place}' if place else ''}"
