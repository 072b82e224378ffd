"""`edgecnn check`: whether a candidate may replace its baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, rendered, wrote


@command(
    "edgecnn.workflows.check.command:check",
    printer=rendered("edgecnn.report.check.document:document", "check.md"),
    note=wrote("edgecnn.report.check.document:files", "the page and the images that broke as a picture: --out DIR"),
    preprocessing_before="out",
)
def check(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="[BASELINE] CANDIDATE",
            help="Checkpoints, .onnx or .tflite files, bundles, finished runs. BASELINE not with --against.",
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="DIR", help="Images: DIR/val, all of a folder, or a CSV.")
    ],
    against: Annotated[
        Path | None, typer.Option("--against", "-a", metavar="FILE", help="A baseline file that --save wrote.")
    ] = None,
    max_drop: options.MaxDrop = None,
    max_class_drop: Annotated[
        str | None, typer.Option(metavar="SHARE", help="FAIL when a class is shown to lose more, such as 5%.")
    ] = None,
    max_latency_ratio: Annotated[
        str | None, typer.Option(metavar="RATIO", help="Longest time, as a share of the baseline's, such as 0.8.")
    ] = None,
    max_size: options.MaxSize = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the networks are for; what they say, or classification.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="A board of yours, where exported files are run and measured.")
    ] = None,
    profile: Annotated[str, typer.Option(metavar="NAME", help="How long to measure latency: see benchmark.")] = "quick",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Look after 50, 100, 200 ... images; stop when the answer is certain.")
    ] = False,
    seed: options.Seed = 0,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the baseline's answers, for --against.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the candidate's answers over the file of --against.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write check.md, .html, .json and broken.png.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit's XML for a CI system.")] = None,
    json: options.Json = False,
) -> None:
    """Judge a candidate against its baseline, paired on the same images, and say PASS, FAIL or INCONCLUSIVE.

    Each runs in its own runtime: a checkpoint in PyTorch, an exported file in ONNX Runtime or LiteRT, here or on a
    board. PASS and FAIL are wrong with a probability of 5 % at most. Without labels the answers are compared.
    """
