"""Stage `cast`: weights and activations in half precision, inputs and outputs as they were."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.device import registered_format
from edgecnn.core.stage import Context, Stage
from edgecnn.formats.registry import format_named, formats


def cast_unasked() -> tuple[FormatName, ...]:
    """The formats that are cast unless others are asked for: those that run on GPUs, where half precision is fast."""
    return tuple(item.name for item in formats() if item.cast and item.on_gpu)


class Cast(Stage):
    """Type the whole graph FP16, for runtimes that read precision from the graph (TensorRT 11 knows no other way)."""

    kind: ClassVar[str] = "cast"

    precision: Literal["fp16"] = "fp16"
    formats: tuple[Annotated[FormatName, AfterValidator(registered_format)], ...] = Field(default_factory=cast_unasked)

    def tools_for(self, wanted: FormatName) -> tuple[str, ...]:
        return format_named(wanted).tools

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        applies = wanted in self.formats and source[:2] == (wanted, "fp32") and format_named(wanted).cast
        return source._replace(precision=self.precision) if applies else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        format = format_named(context.format)
        out = context.workdir / f"model.fp16{format.suffix}"
        artifact: Artifact = plugins.resolve(format.cast)(source, out)
        return artifact
