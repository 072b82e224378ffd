"""Stage `quantize`: static post-training INT8."""

from __future__ import annotations

from typing import Any, ClassVar

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.errors import MissingError
from edgecnn.core.events import Warned
from edgecnn.core.stage import Context, Stage, StageInput
from edgecnn.formats.registry import format_named, format_of_family, formats
from edgecnn.quantize.options import QuantizeOptions

WHY_WITHOUT_EFFECT = {
    "io": "integer inputs and outputs are for TFLite; this format takes and gives float32",
    "weight_bits": (
        "7 bits keep the 16-bit sums of ONNX Runtime from saturating on x86-64 without VNNI; this runtime adds in 32"
    ),
}
"""Options that mean something to some formats only, and why not to the others: one recipe serves several formats."""


class Quantize(Stage, QuantizeOptions):
    """Calibrate on images, then write INT8 weights and activations, placed as the target's runtime can use them."""

    kind: ClassVar[str] = "quantize"
    tools: ClassVar[tuple[str, ...]] = ("numpy",)

    def tools_for(self, wanted: FormatName) -> tuple[str, ...]:
        return (*self.tools, *format_named(wanted).tools)

    def inputs(self) -> frozenset[StageInput]:
        return frozenset({"calibration"})

    def without_effect(self, family: str) -> dict[str, str]:
        """The options given that do nothing in `family`, each with the reason."""
        meant = format_of_family(family).quantize_options
        asked = [name for name in WHY_WITHOUT_EFFECT if getattr(self, name) != _default(name)]
        return {name: WHY_WITHOUT_EFFECT[name] for name in asked if name not in meant}

    def within(self, family: str) -> Quantize:
        """These options with those at their defaults that do nothing in `family`."""
        return self.model_copy(update={name: _default(name) for name in self.without_effect(family)})

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        return source._replace(precision="int8") if source[:2] == (wanted, "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        deployment = context.target.deployment(context.format)
        if deployment is None:
            raise MissingError("no-deployment", f"{context.target.name} does not run {context.format}")
        for name, why in self.without_effect(deployment.family).items():
            shown = f"`{name}: {getattr(self, name)}`"
            context.listener(Warned("option-without-effect", f"{context.format}: {shown} does nothing here: {why}"))
        write = plugins.resolve(format_of_family(deployment.family).quantize)
        out = context.workdir / f"model.int8{format_named(context.format).suffix}"
        artifact: Artifact = write(source, out, options=self.within(deployment.family), context=context)
        return artifact


def meant_for(option: str) -> FormatName:
    """The first format to which an option of `quantize` means something."""
    return next(item.name for item in formats() if option in item.quantize_options)


def _default(option: str) -> Any:
    return Quantize.model_fields[option].default
