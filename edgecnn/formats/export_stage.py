"""Stage `export`: from the torch model to a format a runtime loads."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.stage import Context, Stage
from edgecnn.formats.registry import format_named


class Export(Stage):
    """Write the FP32 network in the format the target runs, with what the runtime cannot fuse rewritten."""

    kind: ClassVar[str] = "export"
    tools: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm")

    def tools_for(self, wanted: FormatName) -> tuple[str, ...]:
        return (*self.tools, *format_named(wanted).tools)

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        return source._replace(format=wanted) if source[:2] == ("torch", "fp32") and wanted != "torch" else None

    def missing(self, wanted: FormatName) -> str | None:
        return format_named(wanted).missing_extra()

    def run(self, source: Artifact, context: Context) -> Artifact:
        format = format_named(context.format)
        out = context.workdir / f"model.fp32{format.suffix}"
        artifact: Artifact = plugins.resolve(format.export)(
            context.model, out, preprocessing=context.data.preprocessing, task=context.task
        )
        return replace(artifact, format=format.name)
