"""`edgecnn evaluate`: what a checkpoint or an exported model is worth on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, rendered, wrote


@command(
    "edgecnn.workflows.evaluate:evaluate",
    printer=rendered("edgecnn.report.evaluation.document:document", "evaluation.md"),
    note=wrote(
        "edgecnn.report.evaluation.document:files",
        "every class, the confusion matrix and the hardest images as pictures: --out DIR",
    ),
    preprocessing_before="out",
)
def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint (.pth, .pt, .safetensors), an .onnx or .tflite file.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", "-d", metavar="DIR", help="Labelled images: DIR/val, all of a folder per class, or a CSV."
        ),
    ],
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the network is for; what FILE says, or classification.")
    ] = None,
    tta: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Test-time augmentation: flip, shift, five-crop or flip,shift.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A checkpoint: cpu or cuda. An exported file: one of your boards."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write evaluation.md, evaluation.json, confusion.png, hardest.png there."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Judge a model on labelled images: accuracy, each class, confusion, calibration, the surest mistakes.

    A checkpoint is run in PyTorch, an exported file in its own runtime; preprocessing is what the file says unless
    flags say otherwise.
    """
