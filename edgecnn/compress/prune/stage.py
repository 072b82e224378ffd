"""Stage `prune`: fewer channels."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from edgecnn.compress.prune.group import Importance
from edgecnn.core.artifact import FormatName, Kind
from edgecnn.core.device import DeviceProfile
from edgecnn.core.quantities import Amount, Share, SizeAmount, TimeAmount
from edgecnn.core.stage import Stage, StageInput
from edgecnn.train.settings import TrainSettings, followed_by_a_stage

MEASURED = ("taylor", "reconstruction")
"""Importances that look at training images."""
CostName = Literal["macs", "parameters", "size", "latency"]
COSTS: tuple[CostName, ...] = get_args(CostName)


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"write a layer's path or a regular expression: {error}") from None
    return text


Part = Annotated[Share, Field(gt=0)]


class Prune(Stage):
    """Take the least important channels away until the network costs as little as asked: one of four costs.

    `macs` and `parameters` are the share kept, such as 50%. `size` is the share kept, or the bytes such as 2 MB, of the
    weights in an INT8 file: a byte for each weight, 9 for each output of a layer. `latency` is the share kept, or the
    time such as 8 ms, that the layers take on the target: it has to be reachable. Widths are multiples of `round_to`,
    for INT8 kernels are slower with others; no more than the share `max_layer` of a layer goes; `ignore` are layers or
    modules, by path or regular expression, that stay whole. `isomorphic` compares channels among layers of one pattern
    alone (arXiv:2407.04616). `iterations` prunes in as many equal parts, each followed by training as `finetune` says.
    `importance_images` of the training images are what the importances `taylor` and `reconstruction` are measured on;
    with the second the layers that read fewer channels get weights that make up for it, from the same images.
    `bn_images` at most so many of the calibration images re-estimate the batch-norm statistics at the end, 0 leaves
    them.
    """

    kind: ClassVar[str] = "prune"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm", "torch-pruning")
    kernel: ClassVar[str] = "edgecnn.compress.prune.kernel:run"

    macs: Part | None = None
    parameters: Part | None = None
    size: SizeAmount | None = None
    latency: TimeAmount | None = None
    importance: Importance = "group-l2"
    round_to: int = Field(default=16, ge=1, le=1024)
    max_layer: Part = 0.75
    ignore: tuple[Annotated[str, AfterValidator(_expression)], ...] = ()
    isomorphic: bool = False
    iterations: int = Field(default=1, ge=1, le=100)
    finetune: TrainSettings | None = None
    importance_images: int = Field(default=512, ge=1, le=1_000_000)
    bn_images: int = Field(default=512, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _one_cost(self) -> Prune:
        names = [name for name in COSTS if getattr(self, name) is not None]
        if len(names) != 1:
            problem = f"{' and '.join(names)} were given" if names else "none was given"
            raise ValueError(f"say how much is kept by one of {', '.join(COSTS)}, such as `macs: 50%`: {problem}")
        if self.latency is not None and (self.iterations > 1 or self.isomorphic):
            raise ValueError("`latency` chooses all widths at once: leave out `iterations` and `isomorphic`")
        if self.finetune is not None:
            followed_by_a_stage(self.finetune, at="finetune")
        return self

    @property
    def cost(self) -> CostName:
        """The cost that is limited."""
        return next(name for name in COSTS if getattr(self, name) is not None)

    @property
    def amount(self) -> Amount:
        """How much of that cost stays."""
        value = getattr(self, self.cost)
        return value if isinstance(value, Amount) else Amount(value)

    def inputs(self) -> frozenset[StageInput]:
        """Training images where it fine-tunes or its importance looks at them, with labels where these say what is
        learned; layer times where its widths are chosen by what layers cost on the target."""
        wanted: set[StageInput] = {"calibration"}
        if self.finetune is not None or self.importance in MEASURED:
            wanted.add("training")
        if self.finetune is not None or self.importance == "taylor":
            wanted.add("labels")
        if self.latency is not None:
            wanted.add("layer times")
        return frozenset(wanted)

    def decides(self, target: DeviceProfile, wanted: FormatName) -> Any:
        if self.latency is None:
            return None
        deployment = target.deployment(wanted)
        return [target.name, wanted, deployment.family if deployment else ""]

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        return Kind("torch", "fp32", "pruned") if source[:2] == ("torch", "fp32") else None
