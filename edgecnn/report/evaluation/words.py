"""What an evaluation found, in words: the same in every renderer."""

from __future__ import annotations

import numpy as np

from edgecnn.report.evaluation.model import Evaluation
from edgecnn.tasks.classification.metrics import ClassificationScores, ClassScore

FEW_IMAGES = 100


def title(evaluation: Evaluation) -> str:
    scores = evaluation.classification
    of_classes = f" of {classes(scores)}" if scores else ""
    return f"{evaluation.file} on {count(evaluation.result.images, 'image')}{of_classes}"


def classes(scores: ClassificationScores) -> str:
    """`10 classes`, or how many of the network's have images."""
    present, known = len(scores.present), len(scores.classes)
    return f"{known} classes" if present == known else f"{present} of its {known} classes"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `12,345 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def sure(confidence: float) -> str:
    """How sure the model was: never quite, after rounding."""
    return ">99.9 % sure" if confidence > 0.999 else f"{confidence * 100:.1f} % sure"


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


def weakest(scores: ClassificationScores) -> list[ClassScore]:
    """The classes that have images, lowest F1 first."""
    return sorted(scores.present, key=lambda score: (score.f1, -score.support, score.index))


def confused(scores: ClassificationScores, number: int) -> list[tuple[str, str, int, float]]:
    """(true class, predicted class, images, share of the true class) of the most frequent mistakes."""
    names = scores.classes
    return [
        (names[true].name, names[said].name, images, images / names[true].support)
        for true, said, images in scores.confused(number)
    ]


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


def rest(shown: int, total: int, place: str) -> str:
    """`and 12 more, all of them in evaluation.md`; empty where all are shown."""
    if total <= shown:
        return ""
    return f"and {total - shown:,} more{f', all of them in {place}' if place else ''}"
