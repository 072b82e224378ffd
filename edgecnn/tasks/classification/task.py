"""Classification as a task: one class per image, judged by top-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.core.errors import StepError
from edgecnn.data.classes import class_map_for
from edgecnn.statistics import proportions
from edgecnn.tasks.classification import metrics, packing, verdict
from edgecnn.tasks.classification.predictions import top1
from edgecnn.tasks.task import TOP_1, Answers, Judgement, Quality

if TYPE_CHECKING:
    import numpy as np

    from edgecnn.tasks.differences import Differences


class Classification:
    """The largest of the outputs (N, classes) is the class; labels are output indices. Satisfies `tasks.task.Task`."""

    name = "classification"
    metric = TOP_1
    decoder = Path(__file__).with_name("decode.py")
    training = "edgecnn.train.task_training:CLASSIFICATION"

    read_labels = staticmethod(class_map_for)

    def validate(self, outputs: np.ndarray, *, width: int, runtime: str) -> None:
        if outputs.shape[1:] != (width,):
            raise StepError(
                "bad-answer",
                f"{runtime} answered with {list(outputs.shape[1:])} numbers an image, not one for each of {width} "
                "classes",
                hint="run it again; if it happens twice, look at the file with edgecnn inspect",
            )

    def agreement(self, reference: np.ndarray, candidate: np.ndarray) -> float:
        """Share of images of one top-1 class."""
        return float((reference.argmax(1) == candidate.argmax(1)).mean())

    def merge(self, outputs: np.ndarray, views: int) -> np.ndarray:
        """The mean of the probabilities."""
        probabilities = metrics.probabilities_of(outputs)[0]
        mean: np.ndarray = probabilities.reshape(-1, views, probabilities.shape[1]).mean(1, dtype="float64")
        return mean.astype("float32")

    def notes(self, outputs: np.ndarray) -> tuple[str, ...]:
        are_probabilities = metrics.probabilities_of(outputs)[1]
        return ("the file answers with probabilities: they are taken as they are",) if are_probabilities else ()

    def score(self, answers: Answers, names: Sequence[str]) -> metrics.ClassificationScores:
        """Classes are ranked by the outputs as they are: a softmax in float32 would make ties of small differences."""
        return metrics.classify(answers.outputs, answers.labels or (), names=names)

    def quality(self, answers: Answers) -> Quality:
        correct = int((top1(answers.outputs) == list(answers.labels or ())).sum())
        return Quality(correct / len(answers), correct)

    def compare(
        self, baseline: Answers, candidate: Answers, *, max_drop: float, confidence: float = proportions.CONFIDENCE
    ) -> Judgement:
        """`max_drop` is a share of the images: 0.01 is one point of top-1."""
        before, after = top1(baseline.on(candidate.images).outputs), top1(candidate.outputs)
        return verdict.judge(before, after, candidate.labels, max_drop=max_drop, confidence=confidence)

    def would_pass(self, judgement: Judgement, *, images: int, max_drop: float) -> bool:
        return verdict.would_pass(judgement, images=images, max_drop=max_drop)

    def fewest_images(self, max_drop: float, *, confidence: float) -> int | None:
        return proportions.fewest_images(max_drop, confidence=confidence)

    def amount(self, loss: float) -> str:
        return f"{100 * loss:.2f} points"

    def budget(self, max_drop: float) -> str:
        return verdict.points(max_drop)

    def differences(
        self, baseline: Answers, candidate: Answers, names: Sequence[str], *, max_class_drop: float, confidence: float
    ) -> Differences:
        from edgecnn.tasks.classification import differences

        return differences.differences(baseline, candidate, names, max_class_drop=max_class_drop, confidence=confidence)

    def pack(self, outputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """The five best classes, best first, and how sure the network is of the first."""
        return packing.pack(outputs)

    def unpack(self, arrays: Mapping[str, np.ndarray], *, width: int) -> np.ndarray:
        return packing.unpack(arrays, width=width)

    def suspicions(self, baseline: Answers, candidate: Answers | None = None) -> tuple[str, ...]:
        labels, classes = baseline.labels, baseline.outputs.shape[1]
        before = top1(baseline.outputs)
        signs = verdict.collapse(before, labels, name="baseline", num_classes=classes)
        if candidate is not None:
            after = top1(candidate.outputs)
            signs += verdict.collapse(after, labels, name="candidate", num_classes=classes)
        return (*signs, *verdict.chance(before, labels, num_classes=classes))


TASK = Classification()
