"""`edgecnn distill`: a student learns from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


def distill(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="The student to train on; with --student, the teacher.")
    ],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="DIR", help="Images: train/ to learn from, val/ to judge on.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the student goes: .safetensors.")],
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="FILE", help="The teacher's checkpoint, of the same classes.")
    ] = None,
    teacher_model: Annotated[
        str | None,
        typer.Option("--teacher-model", metavar="NAME", help="The teacher's network, where its file does not say it."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", metavar="NAME", help="A new student: resnet18, timm:NAME or path/file.py:factory."),
    ] = None,
    student_weights: Annotated[
        Path | None, typer.Option("--student-weights", metavar="FILE", help="Weights that the new student starts from.")
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="WORD", help="dist, hinton or dkd.")] = "dist",
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Softens both answers. Default: the method's own.")
    ] = None,
    label_weight: Annotated[
        float | None,
        typer.Option("--label-weight", min=0, help="Of the labels' loss; 0 needs none. Default: the method's own."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Training settings in YAML: the words of a recipe's training."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the images. Default: 10.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=2, help="Images of one step. Default: 64.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="The schedule's peak. Default: 0.001.")
    ] = None,
    crop_padding: Annotated[
        int | None, typer.Option("--crop-padding", min=0, metavar="PX", help="Shift images by up to so much.")
    ] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the images.")] = None,
    random_resized_crop: Annotated[
        float | None,
        typer.Option("--random-resized-crop", metavar="SHARE", help="Crop this share of the area or more."),
    ] = None,
    mixup: Annotated[float | None, typer.Option("--mixup", min=0, help="Alpha of MixUp.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="cpu or cuda. Default: cuda where there is one.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=0, help="Processes that decode images.")] = None,
    model: options.ModelName = None,
    class_map: options.ClassMap = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Train a student on a teacher's answers; judge it on DIR/val beside what it was before and beside its teacher.

    `edgecnn distill SMALL --teacher LARGE` trains the checkpoint SMALL, a pruned one for example;
    `edgecnn distill LARGE --student NAME` builds a new network and trains that on LARGE. Unlabelled images will do.
    """
    from edgecnn.cli import console
    from edgecnn.data.preprocessing import Source
    from edgecnn.workflows import distill
    from edgecnn.workflows.train.request import settings_of

    if (teacher is None) == (student is None):
        raise typer.BadParameter("CKPT learns from --teacher FILE, or teaches --student NAME: give one of the two")
    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    training = settings_of(
        config,
        {
            "epochs": epochs,
            "batch": batch,
            "learning_rate": learning_rate,
            "crop_padding": crop_padding,
            "flip": flip,
            "random_resized_crop": random_resized_crop,
            "mixup": mixup,
            "device": device,
            "workers": workers,
        },
    )
    given = {
        "method": method,
        "temperature": temperature,
        "label_weight": label_weight,
        "teacher": None if teacher is None else str(teacher),
        "teacher_model": teacher_model,
        "student": student,
        "student_weights": None if student_weights is None else str(student_weights),
    }
    with console.listener() as listener:
        taught = distill.distill(
            Source(checkpoint, model, data, class_map, flags, seed),
            {name: value for name, value in given.items() if value is not None} | {"training": training},
            out=out,
            listener=listener,
        )
    if json:
        console.json(taught)
    else:
        console.result(taught.page())
