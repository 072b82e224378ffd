"""The recipe entry `quantize`: static post-training INT8."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from edgecnn.core import plugins
from edgecnn.core.artifact import SUFFIXES, Artifact, Format, Kind
from edgecnn.core.device import Family
from edgecnn.core.errors import MissingError
from edgecnn.core.events import Warned
from edgecnn.core.stage import Context, Stage, StageInput

Observer = Literal["minmax", "percentile", "mse", "entropy"]
ONLY_FOR: dict[str, tuple[Family, str]] = {
    "io": ("litert", "integer inputs and outputs are for TFLite; this format takes and gives float32"),
    "weight_bits": (
        "onnxruntime",
        "7 bits keep the 16-bit sums of ONNX Runtime from saturating on x86-64 without VNNI; this runtime adds in 32",
    ),
}
"""Options that mean something to one family, and why not to the others: one recipe serves several formats."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"write a layer's name or a regular expression: {error}") from None
    return text


LayerPattern = Annotated[str, AfterValidator(_pattern)]


class Quantize(Stage):
    """Calibrate on images, then write INT8 weights and activations, placed as the target's runtime can use them."""

    kind: ClassVar[str] = "quantize"
    tools: ClassVar[tuple[str, ...]] = (
        "numpy",
        "onnx",
        "onnx-ir",
        "onnxruntime",
        "ai-edge-quantizer",
        "ai-edge-litert",
    )

    observer: Observer = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    io: Literal["float", "int8"] = "float"
    """Inputs and outputs of a TFLite file; the other formats take and give float32."""
    weight_bits: Literal[7, 8] = 8
    """7 is for ONNX Runtime on x86-64 without VNNI; the other formats have 8."""
    keep_float: tuple[LayerPattern, ...] = ()
    """Layers by their paths in the torch module, or regular expressions that match whole paths."""

    def inputs(self) -> frozenset[StageInput]:
        return frozenset({"calibration"})

    def without_effect(self, family: Family) -> dict[str, str]:
        """The options given that do nothing in `family`, each with the reason."""
        asked = ((name, *ONLY_FOR[name]) for name in ONLY_FOR if getattr(self, name) != _default(name))
        return {name: why for name, only, why in asked if family != only}

    def within(self, family: Family) -> Quantize:
        """These options with those at their defaults that do nothing in `family`."""
        return self.model_copy(update={name: _default(name) for name in self.without_effect(family)})

    def produces(self, source: Kind, wanted: Format) -> Kind | None:
        return source._replace(precision="int8") if source[:2] == (wanted, "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        deployment = context.target.deployment(context.format)
        if deployment is None:
            raise MissingError("no-deployment", f"{context.target.name} does not run {context.format}")
        for name, why in self.without_effect(deployment.family).items():
            shown = f"`{name}: {getattr(self, name)}`"
            context.listener(Warned("option-without-effect", f"{context.format}: {shown} does nothing here: {why}"))
        write = plugins.load("quantizers", deployment.family)
        out = context.workdir / f"model.int8{SUFFIXES[context.format]}"
        artifact: Artifact = write(source, out, options=self.within(deployment.family), context=context)
        return artifact


def _default(option: str) -> Any:
    return Quantize.model_fields[option].default
