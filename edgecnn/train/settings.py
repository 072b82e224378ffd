"""How to train, what to train on, and what came of it: light types, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One training run.

    `learning_rate` is the peak of the one-cycle schedule; `warmup` the share of steps before it. `crop_padding` in
    pixels shifts images at random by up to that much; `flip` mirrors half of them (wrong for digits and text).
    `clip_norm` bounds the gradient's L2 norm. `device` is a torch device name, or None for where the module already is.
    `mixed_precision` is float16 autocast on CUDA and is ignored elsewhere.
    """

    epochs: int = 10
    batch: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.3
    label_smoothing: float = 0.0
    clip_norm: float | None = 1.0
    crop_padding: int = 0
    flip: bool = False
    mixed_precision: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        problems = [
            text
            for wrong, text in (
                (self.epochs < 1, "epochs must be at least 1"),
                (self.batch < 2, "batch must be at least 2: batch normalisation has no statistics on one image"),
                (self.optimizer not in OPTIMIZERS, f"optimizer '{self.optimizer}' is not adamw or sgd"),
                (not 0 < self.learning_rate < float("inf"), "learning_rate must be positive"),
                (not 0 <= self.weight_decay < float("inf"), "weight_decay must not be negative"),
                (not 0 < self.warmup < 1, "warmup must lie between 0 and 1"),
                (not 0 <= self.label_smoothing < 1, "label_smoothing must lie in [0, 1)"),
                (self.clip_norm is not None and self.clip_norm <= 0, "clip_norm must be positive"),
                (self.crop_padding < 0, "crop_padding must not be negative"),
            )
            if wrong
        ]
        if problems:
            raise InputError("bad-training", "the training settings do not make sense", why="; ".join(problems))


class LabelledImages(Protocol):
    """What training reads; `data.ImageSet` satisfies it."""

    @property
    def labels(self) -> tuple[int, ...] | None: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    def __len__(self) -> int: ...
    def pixels(self, size: int) -> Iterator[np.ndarray]: ...
    def batches(self, size: int) -> Iterator[np.ndarray]: ...
    def select(self, indices: list[int]) -> LabelledImages: ...


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Images to learn from, and images that only tell how it goes."""

    train: LabelledImages
    validation: LabelledImages | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """`loss` is the mean over the epoch's training steps; accuracies are shares in [0, 1]."""

    loss: float
    train_accuracy: float
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class History:
    """What happened, epoch by epoch."""

    epochs: tuple[Epoch, ...]
    device: str

    @property
    def validation_accuracy(self) -> float | None:
        """After the last epoch; None when no validation images were given."""
        return self.epochs[-1].validation_accuracy
