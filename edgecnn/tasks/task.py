"""Task: what a network is for, and therefore what its outputs mean, how good they are, and what compression may cost.

A task is a plug-in: an object that satisfies `Task`, registered under the entry-point group `edgecnn.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgecnn.core import plugins
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.outcome import Outcome
from edgecnn.statistics.proportions import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np

    from edgecnn.core.stage import Images
    from edgecnn.data.classes import LabelMap
    from edgecnn.data.listing import Listing
    from edgecnn.tasks.differences import Differences

DEFAULT = "classification"


@dataclass(frozen=True, slots=True)
class Metric:
    """The figure that a budget is about, and how a report writes it.

    `name` heads a column, `title` stands in a sentence where it is another. A `share` of one is written in percent and
    its drop in points; every other figure as it is, in `unit`. What may be lost
    is less than `drop_limit`, in the same unit.
    """

    name: str
    title: str = ""
    unit: str = ""
    share: bool = False
    drop_limit: float | None = None
    lower_is_better: bool = False

    def text(self, value: float | None) -> str:
        """A value with its unit: `98.33%`, `0.0312 levels`."""
        if value is None:
            return "unknown"
        return f"{value:.2%}" if self.share else f"{value:.4g} {self.unit}".rstrip()


TOP_1 = Metric("top-1", "top-1 accuracy", share=True, drop_limit=1.0)
"""What a report is about that names no metric."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a network answers to a set of images: `outputs` is float32 (images, ...), row by row in their order."""

    outputs: np.ndarray
    images: Images

    @property
    def labels(self) -> Sequence[Any] | None:
        """One label per answer, in the task's terms; None where they are not known."""
        return self.images.labels

    def __len__(self) -> int:
        return len(self.outputs)

    def on(self, images: Images) -> Answers:
        """The answers to `images`, each of which is among these."""
        if images is self.images or tuple(images.ids) == tuple(self.images.ids):
            return Answers(self.outputs, images)
        row_of = {name: row for row, name in enumerate(self.images.ids)}
        return Answers(self.outputs[[row_of[name] for name in images.ids]], images)


@dataclass(frozen=True, slots=True)
class Drop:
    """How much worse a candidate is than its baseline, in the unit of the task's metric; negative where it is better.

    `low` and `high` are one-sided bounds. `value` is None where there are no labels: then the bounds hold for the
    size of the change.
    """

    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Flips:
    """Images whose answer changed sides: `broke` that the baseline gets right and the candidate wrong, `fixed` the
    reverse."""

    broke: int
    fixed: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """A candidate against its baseline on the same `images`; `drop` is None where nothing could be compared.

    The bounds of `drop` and the outcome hold with `confidence` each: the outcome is wrong with a probability of at most
    1 - `confidence`. `agreement` is the share of images that both answer alike. `flips` are for tasks whose answers are
    right or wrong. `images_needed` is for an INCONCLUSIVE outcome: how many images decide it with 80 % power if the
    models keep behaving as on these; None when no number does, or the outcome is already decided.
    """

    outcome: Outcome
    why: str
    images: int = 0
    drop: Drop | None = None
    agreement: float | None = None
    flips: Flips | None = None
    images_needed: int | None = None
    confidence: float = CONFIDENCE

    @property
    def loss(self) -> float:
        """The drop; without labels the share of answers that changed, which bounds it."""
        return self.drop.value if self.drop and self.drop.value is not None else 1 - (self.agreement or 0.0)

    @property
    def largest_loss(self) -> float:
        """The upper bound of the drop, which is what has to be within the budget."""
        return self.drop.high if self.drop else float("inf")


@dataclass(frozen=True, slots=True)
class Quality:
    """The one figure a budget is about: `value` of the task's metric, and `correct` images where the task counts
    them."""

    value: float
    correct: int | None = None


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """Row `row` of the answers is wrong: what it says, what the label says, and how sure the network is of either."""

    row: int
    label: str
    answer: str
    confidence: float
    label_confidence: float


class Scores(Protocol):
    """How good labelled answers are, in every figure that a report shows."""

    @property
    def images(self) -> int: ...
    @property
    def figures(self) -> Sequence[tuple[str, str, str]]:
        """(name, value with its unit, remark), most important first, as a report shows them."""
        ...

    @property
    def mistakes(self) -> Sequence[WrongAnswer]:
        """The answers that are most surely wrong, worst first; none where answers are not right or wrong."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ...


class Task(Protocol):
    """What is asked of a task. Heavy packages are imported where they are used, not when a task is loaded."""

    @property
    def name(self) -> str:
        """The word after `--task`."""
        ...

    @property
    def metric(self) -> Metric:
        """What `Quality.value` and `Drop` are of."""
        ...

    @property
    def decoder(self) -> Path:
        """A Python file (3.8, numpy alone) that travels in the bundle.

        It defines `decode(output, labels) -> dict` for the raw output of one image, float32 without the batch, and
        `line(answer) -> str` for what a person reads of it.
        """
        ...

    @property
    def training(self) -> str:
        """`package.module:NAME` of how it is trained (`train.task_training.TaskTraining`), imported when training
        begins; empty for a task that is only evaluated and compressed."""
        ...

    def read_labels(
        self, listing: Listing, num_classes: int, *, path: Path | None = None, class_names: Sequence[str] | None = None
    ) -> LabelMap:
        """What the labels in the data stand for, for a network with so many outputs; `path` is the file that
        `--class-map` names. Raises InputError for what does not fit."""
        ...

    def validate(self, outputs: np.ndarray, *, width: int, runtime: str) -> None:
        """Raise StepError unless `outputs` are what a network with `width` outputs answers to a batch of images."""
        ...

    def agreement(self, reference: np.ndarray, candidate: np.ndarray) -> float:
        """Share in [0, 1] of images that two networks, or two files of one network, answer alike."""
        ...

    def merge(self, outputs: np.ndarray, views: int) -> np.ndarray:
        """One output per image from those of its `views`, which follow each other: (N * views, ...) to (N, ...)."""
        ...

    def notes(self, outputs: np.ndarray) -> tuple[str, ...]:
        """What a reader should know of raw outputs."""
        ...

    def score(self, answers: Answers, names: Sequence[str]) -> Scores:
        """How good labelled answers are, in detail; `names` are those of the outputs."""
        ...

    def quality(self, answers: Answers) -> Quality:
        """How good labelled answers are."""
        ...

    def compare(
        self, baseline: Answers, candidate: Answers, *, max_drop: float, confidence: float = CONFIDENCE
    ) -> Judgement:
        """Judge a candidate against its baseline, image by image, on the same images. `max_drop` is the largest loss
        that passes, in the task's own unit. PASS and FAIL may each be wrong with a probability of 1 - `confidence` at
        most. Without labels the judgement goes by the agreement."""
        ...

    def would_pass(self, judgement: Judgement, *, images: int, max_drop: float) -> bool:
        """Whether a candidate judged so would pass on so many other `images` if it behaves the same there."""
        ...

    def fewest_images(self, max_drop: float, *, confidence: float) -> int | None:
        """How many images prove the budget for a candidate that answers as the baseline does on every one of them;
        None where no number does."""
        ...

    def amount(self, loss: float) -> str:
        """A loss in words, with its unit: `0.42 points`."""
        ...

    def budget(self, max_drop: float) -> str:
        """A budget in words: `1.00 %`."""
        ...

    def differences(
        self, baseline: Answers, candidate: Answers, names: Sequence[str], *, max_class_drop: float, confidence: float
    ) -> Differences:
        """What differs between the answers of two models to the same images in the same order, in detail. A class is an
        alarm where it is shown to lose more than `max_class_drop`, a share of its images."""
        ...

    def pack(self, outputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """What a baseline file holds of raw outputs (N, ...): arrays of N rows each, as small as later comparisons
        allow."""
        ...

    def unpack(self, arrays: Mapping[str, np.ndarray], *, width: int) -> np.ndarray:
        """Outputs that compare as those that were packed. Raises KeyError or ValueError for arrays that are not what
        `pack` gives."""
        ...

    def suspicions(self, baseline: Answers, candidate: Answers | None = None) -> tuple[str, ...]:
        """Signs that the baseline's answers, or a candidate's to the same images, are not what they seem; with what to
        do."""
        ...


def find(name: str) -> Task:
    """The task of that name. Raises InputError for an unknown one."""
    task: Task = plugins.load("tasks", name)
    return task


def require_classes(name: str, what: str) -> None:
    """Raise InputError where `what` compares probabilities of classes and the task of that name has none."""
    if name != DEFAULT:
        raise InputError(
            "needs-classes",
            f"{what} is for classification, not for the task {name}",
            why="it compares the probabilities of classes",
            hint=f"leave {what} out of the recipe",
        )


def require_finite(outputs: np.ndarray) -> None:
    """Raise StepError for NaN and infinity."""
    import numpy as np

    if not np.isfinite(outputs).all():
        raise StepError(
            "not-finite",
            "the model answers NaN or infinity",
            hint="check the weights and the preprocessing: `edgecnn inspect` shows both",
        )
