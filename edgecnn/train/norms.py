"""Batch-norm statistics, measured again: after pruning or averaging the stored ones are those of another network."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgecnn.core.stage import LabelledImages


def reestimate(
    module: nn.Module,
    images: LabelledImages,
    *,
    count: int,
    batch: int = 64,
    seed: int = 0,
    keep: Collection[nn.Module] = (),
) -> int:
    """Set the running statistics of the batch-norm layers to the mean over `count` images, chosen by `seed`.

    No weight changes and no label is read; modes are as before afterwards. Layers in `keep` stay as they are. Returns
    how many layers were measured. Source: Y. Wu and J. Johnson, Rethinking "Batch" in BatchNorm, 2021,
    arXiv:2105.07576, section 3 (PreciseBN).
    """
    layers = [n for n in module.modules() if isinstance(n, _BatchNorm) and n.running_mean is not None]
    kept = {id(layer) for layer in keep}
    layers = [layer for layer in layers if id(layer) not in kept]
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    if not layers or len(chosen) < 2:
        return 0
    # In random order: a batch of one class has less variance than the images. An incomplete last one would weigh as
    # much as the others.
    size = min(batch, len(chosen))
    chosen = chosen[: len(chosen) // size * size]
    device = next(module.parameters()).device
    before = [(part, part.training) for part in module.modules()]
    momenta = [layer.momentum for layer in layers]
    module.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over batches
            layer.train()
        with torch.no_grad():
            for x in images.select(chosen).batches(size):
                module(torch.from_numpy(x).to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for part, training in before:
            part.training = training
    return len(layers)


def statistics(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The buffers of every batch-norm layer, each with a copy of what it holds now: for `restore`."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    return [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]


def restore(before: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Put back what `statistics` found."""
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
