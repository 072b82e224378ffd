"""The recipe entry `prune`: fewer channels."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from edgecnn.compress.prune.group import Importance
from edgecnn.core.artifact import Format, Kind
from edgecnn.core.device import DeviceProfile
from edgecnn.core.quantities import Share, milliseconds, share, size_bytes
from edgecnn.core.stage import Stage, StageInput
from edgecnn.train.settings import TrainSettings, followed_by_a_stage

MEASURED = ("taylor", "reconstruction")
"""Importances that look at training images."""
MEASURES = ("macs", "parameters", "size", "latency")


def _share_or(read: Callable[[object], object], unit: str, value: object) -> object:
    """`50%` or a number below 1 as a share; what is none as `read` says, with the unit."""
    with contextlib.suppress(ValueError):
        part = share(value)
        if isinstance(part, int | float) and 0 < part < 1:
            return f"{part:.12g}"
    found = read(value)
    if isinstance(found, int | float) and found > 0:
        return f"{found:.12g} {unit}"
    raise ValueError(f"{value!r} is no share between 0 and 1, such as 50%, and nothing with a unit")


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"write a layer's path or a regular expression: {error}") from None
    return text


Size = Annotated[str, BeforeValidator(lambda value: _share_or(size_bytes, "B", value))]
Time = Annotated[str, BeforeValidator(lambda value: _share_or(milliseconds, "ms", value))]
Part = Annotated[Share, Field(gt=0)]


class Prune(Stage):
    """Take the least important channels away until the network costs what is wanted: one of four measures.

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
    size: Size | None = None
    latency: Time | None = None
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
    def _one_measure(self) -> Prune:
        given = [name for name in MEASURES if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} were given" if given else "none was given"
            raise ValueError(f"say how much is kept by one of {', '.join(MEASURES)}, such as `macs: 50%`: {said}")
        if self.latency is not None and (self.iterations > 1 or self.isomorphic):
            raise ValueError("`latency` chooses all widths at once: leave out `iterations` and `isomorphic`")
        if self.finetune is not None:
            followed_by_a_stage(self.finetune, at="finetune")
        return self

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

    def decides(self, target: DeviceProfile, wanted: Format) -> Any:
        if self.latency is None:
            return None
        deployment = target.deployment(wanted)
        return [target.name, wanted, deployment.family if deployment else ""]

    def produces(self, source: Kind, wanted: Format) -> Kind | None:
        return Kind("torch", "fp32", "pruned") if source[:2] == ("torch", "fp32") else None
