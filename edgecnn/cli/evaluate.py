"""`edgecnn evaluate`: what a checkpoint or an exported model is worth on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


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
    class_map: options.ClassMap = None,
    tta: Annotated[
        str | None,
        typer.Option("--tta", metavar="WORDS", help="Test-time augmentation: flip, shift, five-crop or flip,shift."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="A checkpoint: cpu or cuda. An exported file: one of your boards."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, max=256, help="Threads of the runtime; all usable cores unless given."),
    ] = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
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
    from edgecnn.cli import console
    from edgecnn.data.preprocessing import Source
    from edgecnn.predict.tta import parse
    from edgecnn.workflows import evaluate

    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    source = Source(file, model, data, class_map, flags)
    with console.listener() as listener:
        found = evaluate.evaluate(evaluate.Request(source, parse(tta), device, threads), listener=listener)
    written = evaluate.write(found, out) if out is not None else []
    if json:
        console.json(found)
    else:
        from edgecnn.report.evaluation import text

        console.result(text.render(found, place="" if out is None else str(out / "evaluation.md")))
    if written:
        console.note(f"wrote {', '.join(map(str, written))}")
    elif not json:
        console.note("every class, the confusion matrix and the hardest images as pictures: --out DIR")
