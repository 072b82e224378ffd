"""`edgecnn quantize`: one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command
from edgecnn.core.artifact import DEFAULT_FORMAT


@command("edgecnn.workflows.convert:quantize", preprocessing_before="seed")
def quantize(
    checkpoint: options.Checkpoint,
    data: options.DataDir = None,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="{formats}.")] = DEFAULT_FORMAT,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: beside the checkpoint.")
    ] = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: options.TaskName = "classification",
    observer: Annotated[
        str | None, typer.Option(metavar="WORD", help="minmax, percentile, mse or entropy. Default: minmax.")
    ] = None,
    percentile: Annotated[
        float | None, typer.Option(min=50, max=100, help="For the percentile observer. Default: 99.99.")
    ] = None,
    io: Annotated[
        str | None, typer.Option(metavar="WORD", help="Inputs and outputs of TFLite: float or int8. Default: float.")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(min=7, max=8, help="7 is for ONNX Runtime on x86-64 without VNNI. Default: 8.")
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A layer to keep in float, or a regular expression; repeatable. Default: none."
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Calibration images.")] = 200,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as static INT8, calibrated on images; linted and checked against PyTorch. Judges nothing:
    see optimize."""
