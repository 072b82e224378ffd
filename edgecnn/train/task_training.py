"""Training of a task: what the loop asks of it, and how classification answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edgecnn.core import plugins
from edgecnn.core.errors import InputError
from edgecnn.data.opening import classes_in
from edgecnn.tasks.task import DEFAULT, Task
from edgecnn.train.losses import LabelLoss, label_loss
from edgecnn.train.settings import TrainSettings, class_settings


class Meter(Protocol):
    """Sums over labelled images, batch by batch, on their device."""

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """A batch's raw outputs, float32 (N, ...), and its labels."""
        ...

    def figures(self) -> tuple[float, float]:
        """(mean loss, the task's metric) over all images so far."""
        ...


class TaskTraining(Protocol):
    """What training asks of a task, which names it in `Task.training`.

    Labels are what the task's `read_labels` makes of them, numbers; a batch's are a tensor of int64 or float32.
    """

    def output_names(self, data: Path) -> tuple[str, ...]:
        """What the outputs of a network for these images are called. Raises InputError for images without labels."""
        ...

    def require_fit(self, shape: tuple[int, ...], labels: Sequence[Any]) -> None:
        """Raise InputError unless a network with outputs of this shape, (images, ...), can learn these labels."""
        ...

    def loss(self, settings: TrainSettings, labels: Sequence[Any], *, width: int) -> LabelLoss:
        """From raw outputs and labels of a batch to the mean loss, differentiable. `labels` are those of all training
        images, `width` is the number of outputs."""
        ...

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor | None:
        """How many answers of a batch are right; None where answers are not right or wrong."""
        ...

    def meter(self, device: torch.device) -> Meter:
        """What validation adds up."""
        ...


def training_of(task: Task) -> TaskTraining:
    """How a task is trained. Raises InputError where it says nothing of that."""
    if not task.training:
        raise InputError(
            "cannot-train",
            f"networks for the task {task.name} cannot be trained here",
            why="its plug-in names no training",
            hint="train elsewhere, and give the checkpoint to edgecnn optimize",
        )
    training: TaskTraining = plugins.resolve(task.training)
    return training


def validate_settings(task: Task, settings: TrainSettings) -> None:
    """Raise InputError for settings about classes where the task has none."""
    if task.name != DEFAULT and (about_classes := class_settings(settings)):
        raise InputError(
            "class-settings",
            f"`{about_classes[0]}` is about classes, and the task {task.name} has none",
            hint=f"leave out {about_classes[0]}",
        )


class ClassificationTraining:
    """Cross-entropy or focal loss, judged by top-1; labels are output indices. Satisfies `TaskTraining`."""

    def output_names(self, data: Path) -> tuple[str, ...]:
        return classes_in(data)

    def require_fit(self, shape: tuple[int, ...], labels: Sequence[int]) -> None:
        if len(shape) != 2:
            raise InputError("bad-outputs", f"the network gives {shape} for a batch, not (images, classes)")
        classes = shape[1]
        wrong = [label for label in labels if not 0 <= label < classes]
        if wrong:
            raise InputError(
                "class-count",
                f"label {max(wrong)} is outside the network's {classes} outputs",
                hint="give a checkpoint with as many outputs as the data has classes",
            )

    def loss(self, settings: TrainSettings, labels: Sequence[int], *, width: int) -> LabelLoss:
        return label_loss(settings, labels, classes=width)

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs.argmax(1) == labels).sum()

    def meter(self, device: torch.device) -> ClassMeter:
        return ClassMeter(device)


class ClassMeter:
    """Mean cross-entropy and top-1 accuracy in [0, 1]. Satisfies `Meter`."""

    def __init__(self, device: torch.device) -> None:
        self._lost = torch.zeros((), dtype=torch.float64, device=device)
        self._right, self._seen = torch.zeros_like(self._lost), 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        self._lost += nn.functional.cross_entropy(outputs, labels, reduction="sum")
        self._right += CLASSIFICATION.correct(outputs, labels)
        self._seen += len(outputs)

    def figures(self) -> tuple[float, float]:
        return float(self._lost) / self._seen, float(self._right) / self._seen


CLASSIFICATION = ClassificationTraining()
