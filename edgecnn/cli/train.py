"""`edgecnn train`: a network on the user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


def train(
    context: typer.Context,
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
        Path | None,
        typer.Option(
            "--pretrained", metavar="FILE", help="Weights to begin with; the head starts anew for other classes."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML with the settings below; options go before it."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where results go. Default: runs/ARCH-DATA."),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            "--folds", metavar="K", min=0, max=100, help="Cross-validate on the training images: K runs; 0 is none."
        ),
    ] = 0,
    tracker: Annotated[
        list[str] | None,
        typer.Option("--tracker", metavar="NAME", help="mlflow or wandb; repeatable. TensorBoard is always written."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Forget the run in --out, finished or not, and begin from scratch.")
    ] = False,
    seed: options.Seed = 0,
    json: options.Json = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images. Default: 10.")] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", help="Images in one process at once. Default: 64."),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option("--accumulate", help="Batches in one optimizer step. Default: 1."),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", metavar="WORD", help="adamw or sgd. Default: adamw."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", help="At the schedule's peak. Default: 0.001."),
    ] = None,
    momentum: Annotated[float | None, typer.Option("--momentum", help="Of sgd. Default: 0.9.")] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option("--weight-decay", help="On kernels and matrices. Default: 0.05."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="WORD", help="one-cycle, cosine or constant. Default: one-cycle."),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option("--warmup", help="Share of the steps before the peak. Default: 0.3."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option("--loss", metavar="WORD", help="cross-entropy or focal. Default: cross-entropy."),
    ] = None,
    focal_gamma: Annotated[
        float | None,
        typer.Option("--focal-gamma", help="How little easy images count. Default: 2."),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option("--label-smoothing", help="Share given to other classes. Default: 0."),
    ] = None,
    clip_norm: Annotated[
        str | None,
        typer.Option("--clip-norm", metavar="X", help="Largest L2 norm of the gradient, or none. Default: 1."),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option("--ema", help="Decay per step of averaged weights, which are then kept. Default: none."),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            "--early-stopping", help="Epochs without a better validation accuracy that end the run. Default: never."
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option("--dropout", help="Rate, where the network has dropout. Default: its own."),
    ] = None,
    stochastic_depth: Annotated[
        float | None,
        typer.Option("--stochastic-depth", help="Rate of the last block, where the network has it. Default: its own."),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="NAME",
            help="A module whose weights stay, or a regular expression; repeatable. Default: none.",
        ),
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option("--layer-decay", help="Factor on the learning rate per stage towards the input. Default: 1."),
    ] = None,
    bn_images: Annotated[
        int | None,
        typer.Option("--bn-images", help="Images to re-estimate batch-norm statistics on. Default: 0."),
    ] = None,
    crop_padding: Annotated[
        int | None,
        typer.Option("--crop-padding", help="Shift by up to so many pixels. Default: 0."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Mirror half of the images. Default: no."),
    ] = None,
    random_resized_crop: Annotated[
        float | None,
        typer.Option("--random-resized-crop", help="Smallest share of the area kept, such as 0.08. Default: none."),
    ] = None,
    color_jitter: Annotated[
        float | None,
        typer.Option("--color-jitter", help="Strength for brightness, contrast, saturation. Default: 0."),
    ] = None,
    randaugment: Annotated[
        int | None,
        typer.Option("--randaugment", help="Magnitude of two random operations. Default: none."),
    ] = None,
    mixup: Annotated[float | None, typer.Option("--mixup", help="Alpha of MixUp's Beta. Default: 0.")] = None,
    cutmix: Annotated[float | None, typer.Option("--cutmix", help="Alpha of CutMix's Beta. Default: 0.")] = None,
    random_erasing: Annotated[
        float | None,
        typer.Option("--random-erasing", help="Share of images that lose a rectangle. Default: 0."),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option("--class-weights", metavar="WORD", help="none or balanced, in the loss. Default: none."),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option("--sampling", metavar="WORD", help="shuffled, weighted or balanced. Default: shuffled."),
    ] = None,
    mixed_precision: Annotated[
        str | None,
        typer.Option("--mixed-precision", metavar="WORD", help="auto, off, bf16 or fp16. Default: auto."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Processes that decode images. Default: as many as pay."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option("--cache", metavar="WORD", help="auto, on or off: decoded images in memory. Default: auto."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="cpu, cuda or cuda:1. Default: cuda where there is one."),
    ] = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
) -> None:
    """Train a network on images of your own, or fine-tune one; the best epoch is kept for `edgecnn optimize`.

    A killed run continues where it stopped: run the same command again. On several GPUs:
    torchrun --nproc-per-node 2 -m edgecnn train DATA ...
    """
    from edgecnn.cli import console
    from edgecnn.workflows import train

    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    request = train.TrainRequest(
        data=data,
        out=out or train.out_for(data, arch, pretrained, folds=folds),
        architecture=arch,
        pretrained=pretrained,
        settings=train.settings_of(config, context.params),
        preprocessing=flags,
        trackers=tuple(tracker or ()),
        folds=folds,
        seed=seed,
        again=again,
    )
    with console.listener() as listener:
        trained = train.train(request, listener)
    if not train.is_first():
        return
    if json:
        console.json(trained.to_dict())
    else:
        console.result(trained.page())
