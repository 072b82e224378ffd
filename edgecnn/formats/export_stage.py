"""The recipe entry `export`: from the torch model to a format a runtime loads."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

from edgecnn.core import plugins
from edgecnn.core.artifact import SUFFIXES, Artifact, Format, Kind
from edgecnn.core.stage import Context, Stage

NEEDS = {"tflite": ("litert_torch", "tflite")}


class Export(Stage):
    """Write the FP32 network in the format the target runs, with what the runtime cannot fuse rewritten."""

    kind: ClassVar[str] = "export"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnx-ir", "litert-torch")

    def produces(self, source: Kind, wanted: Format) -> Kind | None:
        return source._replace(format=wanted) if source[:2] == ("torch", "fp32") and wanted != "torch" else None

    def missing(self, wanted: Format) -> str | None:
        package, extra = NEEDS.get(wanted, ("", ""))
        return extra if package and find_spec(package) is None else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        write = plugins.load("exporters", context.format)
        out = context.workdir / f"model.fp32{SUFFIXES[context.format]}"
        artifact: Artifact = write(context.model, out, preprocessing=context.data.preprocessing)
        return replace(artifact, format=context.format)
