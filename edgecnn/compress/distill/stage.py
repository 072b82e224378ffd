"""Stage `distill`: train the network, or a smaller one, on a teacher's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from edgecnn.core.artifact import FormatName, Kind, sha256_of
from edgecnn.core.device import DeviceProfile
from edgecnn.core.stage import Stage, StageInput
from edgecnn.train.settings import TrainSettings, followed_by_a_stage

ORIGINAL = "original"
SMALL = "small"
SMALL_IMAGES = 96
"""Largest edge in pixels of what `small` takes for small images: CIFAR, MNIST, digits."""


class Distill(Stage):
    """Learn from a teacher: DIST (arXiv:2205.10536), Hinton (arXiv:1503.02531) or DKD (arXiv:2203.08679).

    `teacher` is the network the run began with, or a checkpoint's path. `student` is None for the network as the stages
    before left it (a pruned one stays pruned), else an architecture that is built anew: a name or `file.py:factory`,
    with `student_weights` to begin from. `small` is a network all of whose layers run in INT8 in every runtime:
    mobilenet_v2 (arXiv:1801.04381), and for images of at most 96 pixels a ResNet-14 of 0.18 M parameters.
    `temperature` and `label_weight` default to what the method's paper takes: see `train.distillation`; images
    without labels teach by the teacher alone. `cache_logits` asks the teacher once for each image: None where images
    are not varied. The best settings of `training` are those the network was trained with, at a lower learning rate.
    """

    kind: ClassVar[str] = "distill"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm")
    kernel: ClassVar[str] = "edgecnn.compress.distill.kernel:distill"

    method: Literal["dist", "hinton", "dkd"] = "dist"
    temperature: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    label_weight: float | None = Field(default=None, ge=0, le=1000, allow_inf_nan=False)
    teacher: str = Field(default=ORIGINAL, min_length=1)
    teacher_model: str | None = None
    """The architecture of a teacher's checkpoint that does not say it: a name or `file.py:factory`."""
    student: str | None = None
    student_weights: str | None = None
    cache_logits: bool | None = None
    training: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Distill:
        if self.teacher_model is not None and self.teacher == ORIGINAL:
            raise ValueError("`teacher_model` names the network of a teacher's checkpoint: give `teacher` its path")
        if self.student_weights is not None and self.student is None:
            raise ValueError("`student_weights` are for a `student` that is built anew: name its architecture")
        if self.cache_logits and self.is_varied:
            raise ValueError(
                "`cache_logits` keeps one answer for each image, and `training.augment` shows another image in every "
                "epoch: switch one of them off"
            )
        followed_by_a_stage(self.training, at="training", builds=self.student is not None)
        return self

    def inputs(self) -> frozenset[StageInput]:
        """Labels where they were asked for beside the teacher."""
        labels: frozenset[StageInput] = frozenset({"labels"} if self.label_weight else ())
        return labels | {"training"}

    @property
    def is_varied(self) -> bool:
        """Whether training shows an image differently from epoch to epoch."""
        return self.training.augment != type(self.training.augment)()

    @property
    def caches(self) -> bool:
        return not self.is_varied if self.cache_logits is None else self.cache_logits

    def architecture(self, input_shape: tuple[int, int, int]) -> str:
        """The student's, for images of that (C, H, W)."""
        if self.student != SMALL:
            return self.student or ""
        return "edgecnn.train.resnet_small:resnet_small" if max(input_shape[1:]) <= SMALL_IMAGES else "mobilenet_v2"

    def decides(self, target: DeviceProfile, wanted: FormatName) -> Any:
        """The bytes of the files the options name; nothing of the target: one student serves every format."""
        files = (None if self.teacher == ORIGINAL else self.teacher, self.student_weights)
        code = (self.student or "").partition(":")[0], (self.teacher_model or "").partition(":")[0]
        return [_digest(name) for name in (*files, *(name for name in code if name.endswith(".py")))]

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        if source[:2] != ("torch", "fp32"):
            return None
        kept = source.variant if self.student is None else ""
        return source._replace(variant=kept or "distilled")


def _digest(name: str | None) -> str:
    """Of a file that an option names; one that cannot be read is refused when it is needed."""
    if name is None:
        return ""
    try:
        return sha256_of(Path(name).expanduser())
    except OSError:
        return name
