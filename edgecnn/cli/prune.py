"""`edgecnn prune`: one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command


@command("edgecnn.workflows.prune:prune", preprocessing_before="seed")
def prune(
    checkpoint: options.Checkpoint,
    out: options.CheckpointOut = None,
    macs: Annotated[str | None, typer.Option(metavar="SHARE", help="Multiply-accumulates kept, such as 50%.")] = None,
    parameters: Annotated[str | None, typer.Option(metavar="SHARE", help="Parameters kept, such as 50%.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Weights of the INT8 file: 50%, or bytes such as 2 MB.")
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time of the layers on this machine in ONNX Runtime: 60%, or 8 ms."),
    ] = None,
    importance: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="group-l2; reconstruction, taylor (with --data); bn-scale, fpgm, lamp, random. Default: group-l2.",
        ),
    ] = None,
    round_to: Annotated[
        int | None, typer.Option(min=1, help="Channels left are a multiple of it. Default: 16.")
    ] = None,
    max_layer: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Most that goes of one layer. Default: 75%.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A layer or module that stays whole, or a regular expression; repeatable."),
    ] = None,
    isomorphic: Annotated[
        bool, typer.Option("--isomorphic", help="Compare channels among layers of one pattern only.")
    ] = False,
    iterations: Annotated[int | None, typer.Option(min=1, help="Prune in so many equal parts. Default: 1.")] = None,
    finetune: Annotated[
        int | None, typer.Option(min=1, metavar="EPOCHS", help="Train after each part, on DIR/train. Default: none.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings of --finetune in YAML: the words of a recipe.")
    ] = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: options.TaskName = "classification",
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Take the least important channels away until the network costs what is wanted. Judges nothing: see evaluate.

    The file opens like any checkpoint. What cannot be pruned stays whole and is named. Accuracy falls at once: train
    it back with `edgecnn distill OUT --teacher CKPT`.
    """
