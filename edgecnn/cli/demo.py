"""`edgecnn demo`: the main job on data and a checkpoint that need no download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, report_page

if TYPE_CHECKING:
    from edgecnn.report.model import Report


def _note(report: Report, options: Mapping[str, Any]) -> str:
    if options["json"]:
        return ""
    return f"written to {report.out}/. Now with your own: edgecnn optimize CKPT --data DIR --target raspberry-pi-5"


@command("edgecnn.workflows.demo:demo", printer=report_page, note=_note)
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    target: options.Target = None,
    profile: options.ProfileName = None,
    json: options.Json = False,
) -> None:
    """Train a small ResNet on scikit-learn's handwritten digits, then take it to INT8: measured and judged, in two
    minutes."""
