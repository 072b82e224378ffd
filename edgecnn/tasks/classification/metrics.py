"""Metrics of a classifier: accuracy with intervals, figures for each class, confusion, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecnn.core.errors import InputError
from edgecnn.statistics.proportions import wilson
from edgecnn.tasks.task import WrongAnswer, require_finite

BINS = 15
"""Of equal width, as in Guo et al. 2017."""
TOP_K = 5
OFF_BY = 0.01
"""A gap between confidence and accuracy that is worth a word."""
HARDEST = 32
"""How many mistakes are listed one by one."""
LEVEL = 0.95
CHUNK_ROWS = 4096


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


@dataclass(frozen=True, slots=True)
class Proportion:
    """`events` of `count`, and Wilson's two-sided 95 % interval of the share."""

    events: int
    count: int
    low: float
    high: float

    @classmethod
    def of(cls, events: int, count: int) -> Proportion:
        return cls(events, count, *wilson(events, count, level=LEVEL))

    @property
    def value(self) -> float:
        return self.events / self.count if self.count else 0.0

    @property
    def interval(self) -> str:
        return f"{self.low * 100:.2f} … {self.high * 100:.2f}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "correct": self.events,
            "images": self.count,
            "low": self.low,
            "high": self.high,
            "interval": "Wilson, 95 %",
        }


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: `support` images are of it, `predicted` were taken for it. Precision is 0 where none was."""

    index: int
    name: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ClassAverage:
    """A mean over the classes that have images: each counts once (macro), or by its images (weighted)."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose confidence lies in [low, high): their mean confidence, and the share of them that is right."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """What a classifier is worth on labelled images. `confusion` is int64 (true class, predicted class) in images;
    `top5` is None for five classes and fewer; `confidence` is the mean of the winning probabilities and
    `calibration_error` the expected one, a share, over `bins`. `mistakes` are the surest, `HARDEST` at most. Satisfies
    `tasks.task.Scores`."""

    top1: Proportion
    top5: Proportion | None
    classes: tuple[ClassScore, ...]
    macro: ClassAverage
    weighted: ClassAverage
    confusion: np.ndarray
    confidence: float
    calibration_error: float
    bins: tuple[Bin, ...]
    mistakes: tuple[WrongAnswer, ...] = ()

    @property
    def images(self) -> int:
        return self.top1.count

    @property
    def present(self) -> tuple[ClassScore, ...]:
        """The classes that have images."""
        return tuple(score for score in self.classes if score.support)

    @property
    def figures(self) -> list[tuple[str, str, str]]:
        rows = [("top-1 accuracy", percent(self.top1.value), f"{self.top1.interval}, 95 % interval")]
        if self.top5 is not None:
            rows.append(("top-5 accuracy", percent(self.top5.value), self.top5.interval))
        for name, average in (("macro", self.macro), ("weighted", self.weighted)):
            remark = f"precision {percent(average.precision)}, recall {percent(average.recall)}"
            rows.append((f"{name} F1", percent(average.f1), remark))
        return [*rows, ("calibration error", percent(self.calibration_error), self._calibration())]

    def _calibration(self) -> str:
        """Over how many bins, and to which side the confidence is off."""
        gap = self.confidence - self.top1.value
        said = f"expected, {BINS} bins of equal width"
        if abs(gap) < OFF_BY:
            return f"{said}; confidence fits accuracy"
        return f"{said}; {'over' if gap > 0 else 'under'}confident by {abs(gap) * 100:.1f} points"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. The confusion matrix as its cells that are not 0: [true class, predicted class,
        images]."""
        cells = np.argwhere(self.confusion)
        return {
            "images": self.images,
            "top1": self.top1.to_dict(),
            "top5": self.top5.to_dict() if self.top5 is not None else None,
            "macro": asdict(self.macro),
            "weighted": asdict(self.weighted),
            "confidence": self.confidence,
            "calibration_error": self.calibration_error,
            "calibration_bins": [asdict(item) for item in self.bins],
            "classes": [asdict(score) for score in self.classes],
            "confusion": [[int(row), int(column), int(self.confusion[row, column])] for row, column in cells],
        }

    def confused(self, count: int) -> list[tuple[int, int, int]]:
        """(true class, predicted class, images) of the most frequent mistakes, at most `count` of them."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        flat = wrong.ravel()
        order = np.argsort(-flat, kind="stable")[:count]
        pairs = zip(*np.unravel_index(order, wrong.shape), flat[order], strict=True)
        return [(int(true), int(said), int(images)) for true, said, images in pairs if images]


def classify(scores: np.ndarray, labels: Sequence[int], *, names: Sequence[str]) -> ClassificationScores:
    """Judge `scores` (N, classes), logits or probabilities, whose largest is the answer and the first of equal ones,
    against labels.

    Per-class figures, confusion and calibration error are torchmetrics'. Raises InputError where labels and scores do
    not belong together, StepError for what is no number.
    """
    require_finite(scores)
    count, classes = scores.shape
    truth = np.asarray(labels, np.int64)
    if len(truth) != count or not count or truth.min() < 0 or truth.max() >= classes or len(names) != classes:
        raise InputError(
            "unpaired",
            "the answers and labels do not belong together",
            why=f"{count} answers of {classes} classes, {len(truth)} labels, {len(names)} names",
            hint="give the classes in the order of the outputs with --class-map FILE",
        )
    probabilities = probabilities_of(scores)[0]
    predictions = scores.argmax(1).astype(np.int64)
    winning = probabilities[np.arange(count), predictions]
    per_class = _by_class(predictions, truth, names)
    top5 = Proportion.of(int(within_top(scores, truth, TOP_K).sum()), count) if classes > TOP_K else None
    confusion, error = _torchmetrics_matrices(predictions, truth, probabilities)
    return ClassificationScores(
        top1=Proportion.of(int(np.count_nonzero(predictions == truth)), count),
        top5=top5,
        classes=per_class,
        macro=_average(per_class, weighted=False),
        weighted=_average(per_class, weighted=True),
        confusion=confusion,
        confidence=float(winning.mean(dtype=np.float64)),
        calibration_error=error,
        bins=tuple(_reliability(winning, predictions == truth)),
        mistakes=tuple(_mistakes(predictions, truth, probabilities, names)),
    )


def probabilities_of(logits: np.ndarray) -> tuple[np.ndarray, bool]:
    """Softmax of logits (N, classes), float32, and whether they were probabilities already: then they are kept."""
    if len(logits) and logits.min() >= 0 and np.abs(logits.sum(1) - 1).max() < 1e-3:
        return logits.astype(np.float32), True
    shifted = logits - logits.max(1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(1, keepdims=True)
    return shifted.astype(np.float32), False


def _mistakes(
    predictions: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> Iterator[WrongAnswer]:
    """The wrong answers the model is surest of, worst first."""
    rows = np.arange(len(truth))
    confidence, of_label = probabilities[rows, predictions], probabilities[rows, truth]
    order = np.lexsort((of_label, -confidence))
    for row in order[(predictions != truth)[order]][:HARDEST]:
        label, answer = names[truth[row]], names[predictions[row]]
        yield WrongAnswer(int(row), label, answer, float(confidence[row]), float(of_label[row]))


def _by_class(predictions: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> tuple[ClassScore, ...]:
    import torch
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

    classes = len(names)
    said, true = torch.from_numpy(predictions), torch.from_numpy(truth)
    precision, recall, f1 = (
        metric(said, true, num_classes=classes, average="none", validate_args=False).tolist()
        for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    )
    support, predicted = (np.bincount(values, minlength=classes).tolist() for values in (truth, predictions))
    return tuple(
        ClassScore(index, name, support[index], predicted[index], precision[index], recall[index], f1[index])
        for index, name in enumerate(names)
    )


def _torchmetrics_matrices(
    predictions: np.ndarray, truth: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, float]:
    """The confusion matrix, and the expected calibration error of the answers that were given."""
    import torch
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_confusion_matrix

    classes = probabilities.shape[1]
    said, true = torch.from_numpy(predictions), torch.from_numpy(truth)
    matrix = multiclass_confusion_matrix(said, true, num_classes=classes, validate_args=False)
    # Confidence against "the answer is right": as a multi-class error torchmetrics would choose the answer itself.
    right = torch.from_numpy((predictions == truth).astype(np.int64))
    confidence = torch.from_numpy(_below_one(probabilities[np.arange(len(truth)), predictions]))
    error = binary_calibration_error(confidence, right, n_bins=BINS, norm="l1", validate_args=False)
    counts: np.ndarray = matrix.numpy().astype(np.int64)
    return counts, float(error)


def _below_one(confidence: np.ndarray) -> np.ndarray:
    """float64 in [0, 1): torchmetrics gives 1 a bin of its own, and takes what rounding put above it for a logit."""
    below: np.ndarray = confidence.astype(np.float64).clip(0, np.nextafter(1, 0))
    return below


def within_top(scores: np.ndarray, truth: np.ndarray, rank: int) -> np.ndarray:
    """Whether each image's class is among its `rank` largest scores, bool (N,); of equal scores the first class
    counts."""
    inside = np.empty(len(scores), bool)
    columns = np.arange(scores.shape[1])
    for start in range(0, len(scores), CHUNK_ROWS):
        part, label = scores[start : start + CHUNK_ROWS], truth[start : start + CHUNK_ROWS, None]
        own = np.take_along_axis(part, label, 1)
        ahead = (part > own) | ((part == own) & (columns < label))
        inside[start : start + CHUNK_ROWS] = ahead.sum(1) < rank
    return inside


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error of answers so sure, over `BINS` bins: as torchmetrics' of `classify`, without
    PyTorch."""
    gaps = (item.images * abs(item.confidence - item.accuracy) for item in _reliability(confidence, right))
    return sum(gaps) / max(1, len(confidence))


def _average(scores: Sequence[ClassScore], *, weighted: bool) -> ClassAverage:
    present = [score for score in scores if score.support]
    weights = [score.support if weighted else 1 for score in present]
    means = (
        float(np.average([getattr(score, name) for score in present], weights=weights))
        for name in ("precision", "recall", "f1")
    )
    return ClassAverage(*means)


def _reliability(confidence: np.ndarray, right: np.ndarray) -> Iterator[Bin]:
    """The bins that have images."""
    confidence = _below_one(confidence)
    place = np.searchsorted(np.linspace(0, 1, BINS + 1), confidence, side="right") - 1
    for number in range(BINS):
        inside = place == number
        images = int(np.count_nonzero(inside))
        if images:
            mean, share = float(confidence[inside].mean()), float(right[inside].mean())
            yield Bin(number / BINS, (number + 1) / BINS, images, mean, share)
