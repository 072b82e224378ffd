"""Settings of a training, its images and its history: light types without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgecnn.core.stage import LabelledImages

if TYPE_CHECKING:
    from torch import Tensor, nn


FREE_TO_CHANGE = ("workers", "cache", "device")
"""Settings that may differ when a run goes on: they decide how fast it goes, not what comes out."""
NO_EARLY_STOPPING = (
    "it needs images to judge epochs on, and a stage is given none: what judges the result must not choose it; set the "
    "epochs"
)
AS_IT_IS = "it is set when a network is built, and this one is trained as it is"


class Augment(BaseModel):
    """How training images are varied. Everything is off unless asked for: what is right depends on the images.

    `crop_padding` in pixels shifts by up to that much; `flip` mirrors half of the images (wrong for digits and text);
    `random_resized_crop` is the smallest share of the area kept (0.08 is ImageNet's); `color_jitter` the strength for
    brightness, contrast and saturation; `randaugment` the magnitude (0 to 30) of two random operations; `mixup` and
    `cutmix` are the alpha of their Beta distributions, taken in turn at random when both are given; `random_erasing` is
    the share of images that lose a rectangle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop_padding: int = Field(default=0, ge=0, le=512)
    flip: bool = False
    random_resized_crop: float | None = Field(default=None, gt=0, le=1)
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    randaugment: int | None = Field(default=None, ge=0, le=30)
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)
    random_erasing: float = Field(default=0.0, ge=0, le=1)


class TrainSettings(BaseModel):
    """One training run; the words are those of recipes and of `edgecnn train`.

    `batch` is what one process holds at once, `accumulate` how many of them make one optimizer step. `learning_rate`
    is the peak of the schedule; `warmup` the share of steps before it (the one-cycle and cosine schedules).
    `clip_norm` bounds the gradient's L2 norm. `ema` is the decay per step of a moving average of the weights, which
    then is what is judged and kept. `mixed_precision`: auto is fp16 on CUDA and bf16 on a CPU with AVX512-BF16 or AMX
    for networks without depthwise convolutions (which become slower), else off. `early_stopping` is how many epochs
    without a better validation accuracy end the run; None never.
    `class_weights` and `sampling` answer unequal classes: weights in the loss, or more draws of the rare ones
    (weighted: in proportion to the inverse count; balanced: every class equally often in each batch). `freeze` names
    modules by their paths or regular expressions whose weights and batch-norm statistics stay; `layer_decay` multiplies
    the learning rate per stage towards the input (1.0: all alike). `bn_images` re-estimates batch-norm statistics
    on so many training images before an epoch is judged. `workers` are processes that decode and augment, None as
    many as pay; `cache` keeps decoded images in memory (auto: while they fit into 0.5 GB). `device` is a torch
    device name, None for CUDA where there is one, else the CPU.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=10, ge=1, le=10_000)
    batch: int = Field(default=64, ge=2, le=65_536)
    accumulate: int = Field(default=1, ge=1, le=1024)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: float = Field(default=0.3, gt=0, lt=1)
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: float = Field(default=2.0, ge=0, le=10)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffled", "weighted", "balanced"] = "shuffled"
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    early_stopping: int | None = Field(default=None, ge=1)
    mixed_precision: Literal["auto", "off", "bf16", "fp16"] = "auto"
    augment: Augment = Augment()
    dropout: float | None = Field(default=None, ge=0, lt=1)
    stochastic_depth: float | None = Field(default=None, ge=0, lt=1)
    freeze: tuple[str, ...] = ()
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    bn_images: int = Field(default=0, ge=0)
    workers: int | None = Field(default=None, ge=0, le=256)
    cache: Literal["auto", "on", "off"] = "auto"
    device: str | None = None

    @model_validator(mode="after")
    def _has_effect(self) -> TrainSettings:
        """Refuse what would be passed over, or would correct one thing twice."""
        fields = type(self).model_fields
        if self.optimizer != "sgd" and self.momentum != fields["momentum"].default:
            raise ValueError(f"`momentum` is of the optimizer sgd, and the optimizer is {self.optimizer}")
        if self.loss != "focal" and self.focal_gamma != fields["focal_gamma"].default:
            raise ValueError("`focal_gamma` is of the focal loss: set `loss: focal`")
        if self.class_weights != "none" and self.sampling != "shuffled":
            raise ValueError(
                f"`class_weights: {self.class_weights}` and `sampling: {self.sampling}` both make up for unequal "
                "classes, and together they do it twice: choose one"
            )
        return self


def followed_by_a_stage(settings: TrainSettings, *, at: str, builds: bool = False) -> None:
    """Raise ValueError for settings, written at `at`, that a stage of a recipe cannot follow; one that `builds` its
    network can set dropout and stochastic depth."""
    if settings.early_stopping is not None:
        raise ValueError(f"`{at}.early_stopping` has no place here: {NO_EARLY_STOPPING}")
    for name in () if builds else ("dropout", "stochastic_depth"):
        if getattr(settings, name) is not None:
            raise ValueError(f"`{at}.{name}` has no place here: {AS_IT_IS}")


def class_settings(settings: TrainSettings) -> list[str]:
    """The settings that differ from their defaults and mean something where labels are classes alone."""
    names = ("loss", "focal_gamma", "label_smoothing", "class_weights", "sampling")
    default = TrainSettings()
    changed = [name for name in names if getattr(settings, name) != getattr(default, name)]
    return changed + [f"augment.{name}" for name in ("mixup", "cutmix") if getattr(settings.augment, name)]


class Batch(Protocol):
    """One step's images on the device: `x` float32 (N, C, H, W) normalised; `labels` int64 (N,), or float32 where they
    are no classes; `targets` the labels, or float32 (N, classes) where images were mixed. Both are None for
    images without labels."""

    x: Tensor
    labels: Tensor | None
    targets: Tensor | None
    indices: Tensor
    """Which images of the set these are, int64 (N,)."""


class Feed(Protocol):
    """Batches epoch by epoch. What an epoch gives depends on seed and number alone, so a resumed run sees the same."""

    waited_s: float
    """How long the loop waited for images in the last epoch."""

    def __len__(self) -> int:
        """Batches in one epoch."""
        ...

    def epoch(self, number: int) -> Iterator[Batch]: ...
    def close(self) -> None: ...


class Objective(Protocol):
    """What is to be made small: the loss of labels, of a teacher, or of both.

    An objective that holds networks or tensors moves them in `to`. `needs_labels` is False for what learns from a
    teacher alone. One that has `begin_epoch(number)` is told before every epoch, from 1, also where a run goes on; one
    that has `digest` says by it what it depends on: a run does not go on with another.
    """

    needs_labels: bool

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(mean loss, logits of the trained module)."""
        ...

    def to(self, device: str) -> None: ...


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Images to learn from, and images that only tell how it goes."""

    train: LabelledImages
    validation: LabelledImages | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """`loss` is the mean over the epoch's training steps; accuracies are shares in [0, 1], None without labels.

    `validation_score` is in place of accuracies where the task is another than classification: its own metric.
    `waited_s` of `seconds` the loop waited for images.
    """

    loss: float
    train_accuracy: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float = 0.0
    waited_s: float = 0.0
    validation_loss: float | None = None
    validation_score: float | None = None

    @property
    def score(self) -> float | None:
        """The task's metric on the validation images; None where there are none."""
        return self.validation_accuracy if self.validation_score is None else self.validation_score

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a classifier has no score beside its accuracy."""
        return {key: value for key, value in asdict(self).items() if key != "validation_score" or value is not None}


@dataclass(frozen=True, slots=True)
class History:
    """What happened, epoch by epoch. `best` is the number (from 1) of the epoch whose weights were kept; `stopped` says
    why the run ended early, if it did."""

    epochs: tuple[Epoch, ...]
    device: str
    best: int = 0
    stopped: str = ""

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights were kept."""
        return self.epochs[(self.best or len(self.epochs)) - 1]

    @property
    def validation_accuracy(self) -> float | None:
        """Of the weights that were kept; None when no validation images were given."""
        return self.kept.validation_accuracy

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "epochs": [epoch.to_dict() for epoch in self.epochs]}
