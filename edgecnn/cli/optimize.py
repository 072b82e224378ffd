"""`edgecnn optimize`: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options, plan
from edgecnn.cli.command import command

if TYPE_CHECKING:
    from edgecnn.report.model import Report


def _page(result: Any, given: Mapping[str, Any]) -> Any:
    from edgecnn.report import text

    return plan.page(result, given) if given["dry_run"] else text.render(result.document(), place="report.md")


def _note(result: Report, given: Mapping[str, Any]) -> str:
    if given["json"] or given["dry_run"]:
        return ""
    return f"written to {result.out}/: report.md, report.json, run.json, artifacts/, bundle/"


@command(
    "edgecnn.workflows.optimize.command:optimize",
    dry_run="edgecnn.workflows.optimize.command:plan",
    printer=_page,
    note=_note,
    preprocessing_before="seed",
)
def optimize(
    checkpoint: options.Checkpoint,
    target: options.Target = None,
    device: options.OnDevice = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    class_map: options.ClassMapFile = None,
    task: options.TaskName = "classification",
    recipe: options.RecipeName = "int8",
    max_drop: options.MaxDrop = None,
    max_latency: options.MaxLatency = None,
    max_size: options.MaxSize = None,
    out: options.Out = None,
    format: options.Formats = None,
    profile: options.ProfileName = None,
    threads: options.Threads = 1,
    seed: options.Seed = 0,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure latency again; all else is kept.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Replace the results of another network that --out holds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, as `edgecnn plan` does.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Take a checkpoint to verified INT8 files for a board: export, quantize, verify, measure, judge, report.

    A killed run continues where it stopped: run the same command again.
    """
