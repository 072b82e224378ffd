"""`edgecnn export`: one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command
from edgecnn.core.artifact import DEFAULT_FORMAT


@command("edgecnn.workflows.convert:export", preprocessing_before="json")
def export(
    checkpoint: options.Checkpoint,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="{formats}.")] = DEFAULT_FORMAT,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: beside the checkpoint.")
    ] = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: options.TaskName = "classification",
    precision: Annotated[str, typer.Option(metavar="WORD", help="fp32, or fp16 for tensorrt.")] = "fp32",
    json: options.Json = False,
) -> None:
    """Write a checkpoint as ONNX, TFLite or the ONNX dialect of TensorRT, checked against PyTorch on your images, or on
    synthetic ones."""
