"""Kernel of the stage `qat`: the exported graph, rounded as its integer file, is trained towards the FP32 network."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecnn.compress.network import training_images
from edgecnn.compress.qat.prepared import PreparedNetwork
from edgecnn.compress.qat.stage import VARIANT, Qat
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.errors import MissingError
from edgecnn.core.events import scoped
from edgecnn.core.stage import Context, LabelledImages
from edgecnn.formats.registry import format_named
from edgecnn.quantize.trained_ranges import leave
from edgecnn.tasks.task import require_classes
from edgecnn.train.distillation_loss import Distilled
from edgecnn.train.loop import fit
from edgecnn.train.losses import label_loss

ROUNDS = (1 / 3, 2 / 3)
"""Shares of the training. The first tames the outliers that min-max ranges are made of, so that ranges observed again
fit the second: benchmarks/qat.py has the figures beside those of ranges that stay."""


def train(source: Artifact, context: Context, *, options: Qat, rounds: Sequence[float] = ROUNDS) -> Artifact:
    """Write `source` with weights trained for its grid, and beside it the ranges they were trained for.

    The ranges are observed before each of the `rounds`, shares of the training.

    Raises InputError without images to train on, StepError where the graph cannot be computed in torch, and what
    `train.fit` raises.
    """
    require_classes(context.task, Qat.kind)
    images = training_images(context, why="quantization-aware training learns from images that are never judged on")
    name = f"model.{VARIANT}{format_named(context.format).suffix}"
    begun, seen = source, 0.0
    for number, share in enumerate(rounds, start=1):
        note = f"round {number} of {len(rounds)}" if len(rounds) > 1 else ""
        listener = scoped(context.listener, note=note)
        here = replace(context, scratch=context.scratch / f"round{number}", listener=listener)
        here.scratch.mkdir(exist_ok=True)
        prepared = prepare(begun, options, here)
        epochs = options.epochs * share
        _fit(prepared, part_of(images, epochs, after=seen, seed=context.seed), here, options, math.ceil(epochs))
        begun, seen = replace(source, path=here.scratch / name), seen + epochs
        prepared.save(prepared.network.weights(), begun.path)
    out = Path(shutil.copy(begun.path, context.workdir))
    leave(context.workdir, prepared.ranges, options.quantizing(_family(context)))
    variant = "-".join(filter(None, (source.variant, VARIANT)))
    return replace(source, path=out, sha256=sha256_of(out), history=(*source.history, Qat.kind), variant=variant)


def _fit(prepared: PreparedNetwork, images: LabelledImages, context: Context, options: Qat, epochs: int) -> None:
    fit(
        prepared.network,
        images,
        settings=options.training.model_copy(update={"epochs": epochs}),
        objective=Distilled(
            context.teacher.module(),
            method=options.method,
            temperature=options.temperature,
            label_weight=options.label_weight,
            label_loss=label_loss(options.training, images.labels, classes=context.teacher.num_classes),
            identity=context.teacher.sha256,
        ),
        scratch=context.scratch,
        listener=context.listener,
        seed=context.seed,
    )


def prepare(source: Artifact, options: Qat, context: Context) -> PreparedNetwork:
    """The float file `source` as a network with the rounding of its integer file.

    Raises StepError where the graph cannot be computed in torch, InputError when `keep_float` names no layer.
    """
    quantizing = options.quantizing(_family(context))
    prepare_file = plugins.resolve(format_named(context.format).qat)
    prepared: PreparedNetwork = prepare_file(source, options=quantizing, context=context)
    return prepared


def part_of(images: LabelledImages, epochs: float, *, after: float = 0.0, seed: int) -> LabelledImages:
    """The images of each of `ceil(epochs)` passes, so that together they are `epochs` times all of them.

    Of the images in the order of `seed`, those behind the first `after` times all of them.
    """
    count = max(1, round(len(images) * epochs / math.ceil(epochs)))
    if count == len(images):
        return images
    order = np.roll(np.random.default_rng(seed).permutation(len(images)), -round(len(images) * after))
    return images.select(sorted(order[:count].tolist()))


def _family(context: Context) -> str:
    deployment = context.target.deployment(context.format)
    if deployment is None:
        raise MissingError("no-deployment", f"{context.target.name} does not run {context.format}")
    return deployment.family
