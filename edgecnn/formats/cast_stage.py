"""The recipe entry `cast`: weights and activations in half precision, inputs and outputs as they were."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgecnn.core.artifact import SUFFIXES, Artifact, Format, Kind
from edgecnn.core.stage import Context, Stage


class Cast(Stage):
    """Type the whole graph FP16, for runtimes that read precision from the graph (TensorRT 11 knows no other way)."""

    kind: ClassVar[str] = "cast"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    precision: Literal["fp16"] = "fp16"
    formats: tuple[Format, ...] = ("tensorrt",)

    def produces(self, source: Kind, wanted: Format) -> Kind | None:
        applies = wanted in self.formats and source[:2] == (wanted, "fp32")
        return source._replace(precision=self.precision) if applies else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        from edgecnn.formats.onnx.half import to_half

        return to_half(source, context.workdir / f"model.fp16{SUFFIXES[context.format]}")
