"""`edgecnn quantize`: one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


def quantize(
    checkpoint: options.Checkpoint,
    data: options.DataDir = None,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="onnx, tflite or tensorrt.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: beside the checkpoint.")
    ] = None,
    model: options.ModelName = None,
    class_map: options.ClassMap = None,
    observer: Annotated[
        str, typer.Option("--observer", metavar="WORD", help="minmax, percentile, mse or entropy.")
    ] = "percentile",
    percentile: Annotated[
        float, typer.Option("--percentile", min=50, max=100, help="For the percentile observer.")
    ] = 99.99,
    io: Annotated[
        str, typer.Option("--io", metavar="WORD", help="TFLite inputs and outputs: float or int8.")
    ] = "float",
    images: Annotated[int, typer.Option("--images", min=1, help="Calibration images.")] = 200,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as static INT8, calibrated on images; linted and checked against PyTorch. Judges nothing:
    see optimize."""
    from edgecnn import steps
    from edgecnn.cli import console
    from edgecnn.inputs import Source

    wanted = options.formats_of([format])
    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    assert wanted is not None
    with console.listener() as tell:
        made = steps.quantize(
            Source(checkpoint, model, data, class_map, flags, seed),
            wanted[0],
            out=out,
            options={"observer": observer, "percentile": percentile, "io": io},
            images=images,
            tell=tell,
        )
    if json:
        console.json(made)
    else:
        console.result(made.page())
