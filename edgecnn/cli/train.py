"""`edgecnn train`: a network on the user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command


@command("edgecnn.workflows.train.command:train", preprocessing_before="end")
def train(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Images: a folder with train/ and val/, a folder per class; or a CSV."),
    ],
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch", "-a", metavar="NAME", help="resnet18, timm:NAME, path/file.py:factory or pkg.module:factory."
        ),
    ] = None,
    pretrained: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights to begin with; the head starts anew for other classes.")
    ] = None,
    task: options.TaskName = "classification",
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML with settings; --set and options go before it."),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Any setting, such as schedule=cosine or augment.cutmix=1; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where results go. Default: runs/ARCH-DATA.")
    ] = None,
    folds: Annotated[
        int, typer.Option(metavar="K", min=0, max=100, help="Cross-validate on the training images: K runs; 0 is none.")
    ] = 0,
    tracker: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="mlflow or wandb; repeatable. TensorBoard is always written."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Forget the run in --out, finished or not, and begin from scratch.")
    ] = False,
    seed: options.Seed = 0,
    json: options.Json = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images. Default: 10.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images in one process at once. Default: 64.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="At the schedule's peak. Default: 0.001.")
    ] = None,
    crop_padding: Annotated[int | None, typer.Option(help="Shift by up to so many pixels. Default: 0.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the images. Default: no.")
    ] = None,
    random_resized_crop: Annotated[
        float | None, typer.Option(help="Smallest share of the area kept, such as 0.08. Default: none.")
    ] = None,
    mixup: Annotated[float | None, typer.Option(help="Alpha of MixUp's Beta. Default: 0.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda or cuda:1. Default: cuda where there is one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images. Default: as many as pay.")] = None,
) -> None:
    """Train a network on images of your own, or fine-tune one; the best epoch is kept for `edgecnn optimize`.

    Settings for --set and in --config: epochs, batch, accumulate, optimizer (adamw, sgd), learning_rate, momentum,
    weight_decay, schedule (one-cycle, cosine, constant), warmup, loss (cross-entropy, focal), focal_gamma,
    label_smoothing, class_weights (none, balanced), sampling (shuffled, weighted, balanced), clip_norm, ema,
    early_stopping, mixed_precision (auto, off, bf16, fp16), dropout, stochastic_depth, freeze, layer_decay, bn_images,
    workers, cache (auto, on, off), device; augment.crop_padding, .flip, .random_resized_crop, .color_jitter,
    .randaugment, .mixup, .cutmix, .random_erasing.

    A killed run continues where it stopped: run the same command again. On several GPUs:
    torchrun --nproc-per-node 2 -m edgecnn train DATA ...
    """
