"""`edgecnn optimize`: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import plan
from edgecnn.cli.command import command, report_page

if TYPE_CHECKING:
    from edgecnn.report.model import Report


def _page(result: Any, options: Mapping[str, Any]) -> Any:
    return plan.page(result, options) if options["dry_run"] else report_page(result, options)


def _note(result: Report, options: Mapping[str, Any]) -> str:
    if options["json"] or options["dry_run"]:
        return ""
    return f"written to {result.out}/: report.md, report.json, run.json, artifacts/, bundle/"


@command(
    "edgecnn.workflows.optimize.command:optimize",
    dry_run="edgecnn.workflows.optimize.command:plan",
    printer=_page,
    note=_note,
    extends=plan.plan,
)
def optimize(
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure latency again; all else is kept.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Replace the results of another network that --out holds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, as `edgecnn plan` does.")
    ] = False,
) -> None:
    """Take a checkpoint to verified INT8 files for a board: export, quantize, verify, measure, judge, report.

    A killed run continues where it stopped: run the same command again.

    The exit code is that of what is bundled; the other files are reported. With --format each candidate has to pass,
    and so it is where nothing but FP32 could be bundled.
    """
