"""`edgecnn export`: one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


def export(
    checkpoint: options.Checkpoint,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="onnx, tflite or tensorrt.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: beside the checkpoint.")
    ] = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    class_map: options.ClassMap = None,
    precision: Annotated[str, typer.Option("--precision", metavar="WORD", help="fp32, or fp16 for tensorrt.")] = "fp32",
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as ONNX, TFLite or the ONNX dialect of TensorRT, checked against PyTorch on your images, or on
    synthetic ones."""
    from edgecnn.cli import console
    from edgecnn.core.errors import InputError
    from edgecnn.data.preprocessing import Source
    from edgecnn.workflows import convert

    wanted = options.formats_of([format])
    if precision not in ("fp32", "fp16"):
        raise InputError(
            "unknown-precision", f"export writes fp32 or fp16, not '{precision}'", hint="INT8: edgecnn quantize"
        )
    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    assert wanted is not None
    with console.listener() as listener:
        made = convert.export(
            Source(checkpoint, model, data, class_map, flags),
            wanted[0],
            out=out,
            precision=precision,
            listener=listener,
        )
    if json:
        console.json(made)
    else:
        console.result(made.page())
