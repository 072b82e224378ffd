"""Stage `qat`: train the weights for the grid that `quantize` will give them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from edgecnn.core.artifact import FormatName, Kind
from edgecnn.core.stage import Stage, StageInput
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.formats.registry import format_named
from edgecnn.quantize.options import LayerPattern, Observer
from edgecnn.train.settings import NO_EARLY_STOPPING, TrainSettings

VARIANT = "qat"
NOT_HERE = {
    "epochs": "write it beside `training`",
    **dict.fromkeys(("dropout", "stochastic_depth", "bn_images"), "the exported graph has none"),
    "mixed_precision": "it computes in float32, for half precision has fewer steps than the grids",
    "early_stopping": NO_EARLY_STOPPING,
}
"""Settings of a training run that this stage cannot follow, with the reason."""


class QatSettings(TrainSettings):
    """How the weights are trained: gently, from where they are; see `TrainSettings` for the words.

    How long is said by the stage's `epochs`. Computed in float32: half precision has fewer steps than the grids.
    """

    epochs: int = Field(default=1, ge=1, le=10_000)
    learning_rate: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    warmup: float = Field(default=0.1, gt=0, lt=1)
    mixed_precision: Literal["auto", "off", "bf16", "fp16"] = "off"


def _without(training: QatSettings) -> QatSettings:
    for name, why in NOT_HERE.items():
        if getattr(training, name) != QatSettings.model_fields[name].default:
            raise ValueError(f"`{name}` is not for the training of `qat`: {why}")
    return training


Training = Annotated[QatSettings, AfterValidator(_without)]
"""The settings of a stage or fallback that trains for the grid."""
Epochs = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]


class Qat(Stage):
    """Train the exported network with every rounding of the integer file in place, FP32 as the teacher.

    `epochs` is how long, a share for less than all images: 0.25 is one look at every fourth. A third of it comes first,
    then two thirds, each with the schedule of `training`. The ranges of activations come from `observer` on the
    calibration images, are observed again between the two and else stay; weights move within the grid that `quantize`
    rebuilds from them. `weight_bits` and `keep_float` must be those of the `quantize` behind.
    `method` and `temperature` are of the distillation, where `label_weight` is that of the labels beside the teacher:
    0 needs none. Source of the scheme: B. Jacob et al., CVPR 2018, arXiv:1712.05877.
    """

    kind: ClassVar[str] = "qat"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "numpy")
    kernel: ClassVar[str] = "edgecnn.compress.qat.kernel:train"
    delivers: ClassVar[bool] = False

    epochs: Epochs = 1.0
    training: Training = QatSettings()
    observer: Observer = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    weight_bits: Literal[7, 8] = 8
    keep_float: tuple[LayerPattern, ...] = ()
    method: Literal["dist", "hinton"] = "hinton"
    temperature: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    label_weight: float = Field(default=0.0, ge=0, le=1000, allow_inf_nan=False)

    def tools_for(self, wanted: FormatName) -> tuple[str, ...]:
        return (*self.tools, *format_named(wanted).tools)

    def inputs(self) -> frozenset[StageInput]:
        """Labels where they were asked for beside the teacher."""
        labels: frozenset[StageInput] = frozenset({"labels"} if self.label_weight > 0 else ())
        return labels | {"calibration", "training"}

    def quantizing(self, family: str) -> Quantize:
        """The `quantize` that the weights are trained for."""
        asked = Quantize(
            observer=self.observer,
            percentile=self.percentile,
            weight_bits=self.weight_bits,
            keep_float=self.keep_float,
        )
        return asked.within(family)

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        if source[:2] != (wanted, "fp32") or not format_named(wanted).qat or VARIANT in source.variant.split("-"):
            return None
        return source._replace(variant="-".join(filter(None, (source.variant, VARIANT))))

    def missing(self, wanted: FormatName) -> str | None:
        return format_named(wanted).missing_extra()
