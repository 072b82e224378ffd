"""Kernel of the stage `prune`: rank channels, choose widths, remove channels, write the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.compress.network import write_checkpoint
from edgecnn.compress.prune.algorithm import Between, PruneTarget, check_names, prune
from edgecnn.compress.prune.graph import OUTPUTS
from edgecnn.compress.prune.group import Batches, Ranking
from edgecnn.compress.prune.latency import prune_to_latency
from edgecnn.compress.prune.stage import MEASURED, Prune
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned
from edgecnn.core.stage import Context, LabelledImages
from edgecnn.core.store import write_atomically
from edgecnn.core.units import first_few
from edgecnn.tasks.task import find

BATCH = 64
NAMED = 4
"""Layers that a warning names; the facts have all."""


def run(source: Artifact, context: Context, *, options: Prune) -> Artifact:
    """Write `model.safetensors` and `facts.json` to `context.workdir`.

    Raises InputError `target-out-of-reach`, `nothing-to-prune`, `no-such-layer` or `no-training-images`.
    """
    images = _training_images(context, options)
    module = context.model.module()
    example = torch.zeros(1, *context.model.input_shape)
    ranking = Ranking(
        importance=options.importance,
        round_to=options.round_to,
        max_layer=options.max_layer,
        ignore=options.ignore,
        seed=context.seed,
        losses=None if images is None else losses(images, options.importance_images, context),
        images=None if images is None else batches(images, options.importance_images, context.seed),
    )
    check_names(module, ranking)
    if options.cost == "latency":
        pruned = prune_to_latency(module, example, budget=options.amount, ranking=ranking, context=context)
    else:
        target = PruneTarget(options.cost, options.amount, options.iterations, options.isomorphic)
        between = None if options.finetune is None else _between(options, context)
        pruned = prune(module, example, target, ranking=ranking, between=between, listener=context.listener)
    if images is not None and options.importance in MEASURED:
        pruned.facts["importance_images"] = min(options.importance_images, len(images))
    pruned.facts["bn_images"] = 0 if options.finetune is not None else _reestimated(pruned.module, context, options)
    warn(pruned.unpruned, context.listener)
    write_atomically(context.workdir / "facts.json", json.dumps(pruned.facts, indent=2) + "\n")
    model = context.model
    return write_checkpoint(
        pruned.module,
        source,
        context,
        classes=model.num_classes,
        kind=Prune.kind,
        variant="pruned",
        architecture=model.name,
        plan=pruned.plan.after(getattr(model, "plan", None)),
    )


def _training_images(context: Context, options: Prune) -> LabelledImages | None:
    """The images to learn from, None where nothing does. Raises InputError where there are none, or no labels."""
    if not options.trains:
        return None
    images, trains = context.data.training, options.finetune is not None
    needs_labels = "labels" in options.inputs()
    if images is not None and (images.labels is not None or not needs_labels):
        return images
    what = "`finetune` needs" if trains else f"importance '{options.importance}' needs"
    raise InputError(
        "no-training-images",
        f"there are no {'labelled ' if needs_labels else ''}images to learn from",
        why=f"{what} them",
        hint="give --data DIR with a train/ folder, or prune by group-l2 without finetune, which needs none",
    )


def _chosen(images: LabelledImages, count: int, seed: int) -> LabelledImages:
    return images.select(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count].tolist())


def batches(images: LabelledImages, count: int, seed: int) -> Batches:
    """Images chosen by the seed, batch by batch."""
    part = _chosen(images, count, seed)
    return lambda: (torch.from_numpy(pixels) for pixels in part.batches(BATCH))


def losses(images: LabelledImages, count: int, context: Context) -> Callable[[nn.Module], Iterator[Tensor]]:
    """The task's loss of the labels, batch by batch, on images chosen by the seed."""
    part = _chosen(images, count, context.seed)

    def of(module: nn.Module) -> Iterator[Tensor]:
        from edgecnn.train.settings import TrainSettings
        from edgecnn.train.task_training import training_of
        from edgecnn.train.validation import label_tensor

        assert part.labels is not None
        training = training_of(find(context.task))
        loss = training.loss(TrainSettings(), part.labels, width=context.model.num_classes)
        labels, done = label_tensor(part.labels), 0
        for pixels in part.batches(BATCH):
            yield loss(module(torch.from_numpy(pixels)), labels[done : done + len(pixels)])
            done += len(pixels)

    return of


def _between(options: Prune, context: Context) -> Between:
    from edgecnn.train.loop import fit

    settings, images, task = options.finetune, context.data.training, find(context.task)
    assert settings is not None and images is not None

    def train(module: nn.Module, number: int, rounds: int) -> None:
        scratch = context.scratch / f"round-{number}"
        scratch.mkdir(parents=True, exist_ok=True)
        fit(module, images, settings=settings, task=task, scratch=scratch, listener=context.listener, seed=context.seed)

    return train


def _reestimated(module: nn.Module, context: Context, options: Prune) -> int:
    """Batch-norm statistics of the smaller network, on real images alone; how many were used."""
    images: Any = context.data.calibration
    if options.bn_images == 0 or context.data.training is None or not hasattr(images, "select"):
        return 0
    from edgecnn.train.norms import reestimate

    count = min(options.bn_images, len(images))
    return count if reestimate(module, images, count=count, batch=BATCH, seed=context.seed) else 0


def warn(unpruned: Mapping[str, str], listener: Listener) -> None:
    """Name what was left whole, reason by reason; that the classes stay is no news."""
    by_reason: dict[str, list[str]] = {}
    for path, why in unpruned.items():
        if why != OUTPUTS:
            by_reason.setdefault(why, []).append(path)
    for why, paths in by_reason.items():
        verb = "stays" if len(paths) == 1 else "stay"
        listener(Warned("left-whole", f"{first_few(paths, NAMED)} {verb} whole: {why}"))
