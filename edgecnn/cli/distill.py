"""`edgecnn distill`: a student learns from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command


@command("edgecnn.workflows.distill:distill", preprocessing_before="seed")
def distill(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="The student to train on; with --student, the teacher.")
    ],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="DIR", help="Images: train/ to learn from, val/ to judge on.")
    ],
    out: options.CheckpointOut = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The teacher's checkpoint, of the same classes.")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The teacher's network, where its file does not say it.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="A new student: resnet18, timm:NAME or path/file.py:factory.")
    ] = None,
    student_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights that the new student starts from.")
    ] = None,
    method: Annotated[str, typer.Option(metavar="WORD", help="dist, hinton or dkd.")] = "dist",
    temperature: Annotated[float | None, typer.Option(help="Softens both answers. Default: the method's own.")] = None,
    label_weight: Annotated[
        float | None, typer.Option(min=0, help="Of the labels' loss; 0 needs none. Default: the method's own.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Training settings in YAML: the words of a recipe's training.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images. Default: 10.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images of one step. Default: 64.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="The schedule's peak. Default: 0.001.")
    ] = None,
    crop_padding: Annotated[
        int | None, typer.Option(min=0, metavar="PX", help="Shift images by up to so much.")
    ] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the images.")] = None,
    random_resized_crop: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Crop this share of the area or more.")
    ] = None,
    mixup: Annotated[float | None, typer.Option(min=0, help="Alpha of MixUp.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu or cuda. Default: cuda where there is one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode images.")] = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Train a student on a teacher's answers; judge it on DIR/val beside what it was before and beside its teacher.

    `edgecnn distill SMALL --teacher LARGE` trains the checkpoint SMALL, a pruned one for example;
    `edgecnn distill LARGE --student NAME` builds a new network and trains that on LARGE. Unlabelled images will do.
    """
