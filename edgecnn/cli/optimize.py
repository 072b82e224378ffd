"""`edgecnn optimize`: the main job."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecnn.cli import options


def optimize(
    checkpoint: options.Checkpoint,
    target: options.Target = None,
    device: options.OnDevice = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    class_map: options.ClassMap = None,
    recipe: options.RecipeName = "int8",
    max_drop: options.MaxDrop = None,
    max_latency: options.MaxLatency = None,
    max_size: options.MaxSize = None,
    out: options.Out = None,
    format: options.Formats = None,
    profile: options.ProfileName = None,
    threads: options.Threads = 1,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    seed: options.Seed = 0,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Measure latency again; all else is kept.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, as `edgecnn plan` does.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Take a checkpoint to verified INT8 files for a board: export, quantize, verify, measure, judge, report.

    A killed run continues where it stopped: run the same command again.
    """
    from edgecnn.cli import console
    from edgecnn.cli.plan import show_plan
    from edgecnn.data.preprocessing import Source

    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    source = Source(checkpoint, model, data, class_map, flags, seed)
    wanted = options.request(
        source,
        target=target,
        device=device,
        recipe=recipe,
        out=out,
        formats=format,
        max_drop=max_drop,
        max_latency=max_latency,
        max_size=max_size,
        profile=profile,
        threads=threads,
        remeasure=remeasure,
    )
    if dry_run:
        show_plan(wanted, json=json)
        return
    from edgecnn.report import text
    from edgecnn.workflows.optimize.pipeline import run

    with console.listener() as listener:
        report = run(wanted, listener=listener)
    if json:
        console.json(report.to_dict())
    else:
        console.result(text.render(report))
        console.note(f"written to {wanted.out}/: report.md, report.json, run.json, artifacts/, bundle/")
    raise typer.Exit(report.exit_code)
