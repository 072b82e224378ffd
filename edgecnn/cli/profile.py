"""`edgecnn profile`: where a model's time goes on a device, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, wrote

if TYPE_CHECKING:
    from edgecnn.measure.layer_profile import LayerProfile


def _page(profile: LayerProfile, options: Mapping[str, Any]) -> Any:
    from edgecnn.report import text
    from edgecnn.report.profile.document import document

    return text.render(document(profile, top=options["top"]))


@command("edgecnn.workflows.profile:profile", printer=_page, note=wrote("edgecnn.report.profile.document:files"))
def profile(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx or .tflite file.")],
    device: Annotated[str, typer.Option(metavar="NAME", help="This host, or one of your boards.")] = "host",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Runtime; the device's first for the format unless given.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs with the profiler, and as many without.")] = 30,
    shape: options.InputShape = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many layers are named.")] = 10,
    json: options.PrintJson = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write profile.md, profile.json and profile.svg there."),
    ] = None,
) -> None:
    """Time each layer of a model on a device, and say what it is about.

    Times come from the runtime's own profiler and are joined with multiply-accumulates, bytes moved and the device's
    roofline: what memory limits, what stayed in float, where types and layouts are converted.
    """
