"""The recipe entry `quantize`: static post-training INT8."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from edgecnn.core import plugins
from edgecnn.core.artifact import SUFFIXES, Artifact, Format, Kind
from edgecnn.core.errors import MissingError
from edgecnn.core.stage import Context, Stage

Observer = Literal["minmax", "percentile", "mse", "entropy"]


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
    reads_images: ClassVar[bool] = True

    observer: Observer = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    io: Literal["float", "int8"] = "float"
    weight_bits: Literal[7, 8] = 8
    keep_float: tuple[str, ...] = ()

    def produces(self, source: Kind, wanted: Format) -> Kind | None:
        return Kind(wanted, "int8") if source == Kind(wanted, "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        deployment = context.target.deployment(context.format)
        if deployment is None:
            raise MissingError("no-deployment", f"{context.target.name} does not run {context.format}")
        write = plugins.load("quantizers", deployment.family)
        out = context.workdir / f"model.int8{SUFFIXES[context.format]}"
        artifact: Artifact = write(source, out, options=self, context=context)
        return artifact
