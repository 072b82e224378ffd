"""Importance of channels: a number for every channel of a root, from all layers coupled to it.

group-l2: squared weights (DepGraph, arXiv:2301.12900). taylor: the change of the loss, to first order, when the channel
goes (Molchanov et al., CVPR 2019). bn-scale: |gamma| of the batch norms (network slimming, arXiv:1708.06519). fpgm:
distance from the other filters (geometric median, arXiv:1811.00250). lamp: squared weights over those of all channels
at least as large (arXiv:2010.07611). reconstruction: the error of the layers that read it, see there. random: the
control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgecnn.compress.prune import reconstruction
from edgecnn.compress.prune.group import Axis, DependencyGroup, Ranking
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, ignore
from edgecnn.models.pruned import is_layer

Score = Callable[[nn.Module, Axis], Tensor | None]
"""The importance of each channel of one axis of a layer; None where the layer does not count."""


def importances(
    module: nn.Module, dependency_groups: Sequence[DependencyGroup], ranking: Ranking, *, listener: Listener = ignore
) -> list[Tensor | None]:
    """For each dependency group, float64 (channels,) of mean one (lamp: as the paper has it); None where nothing ranks
    them.

    Raises InputError `no-loss` for taylor without losses, `no-images` for reconstruction without images.
    """
    if ranking.importance == "random":
        generator = torch.Generator().manual_seed(ranking.seed)
        return [torch.rand(item.channels, generator=generator, dtype=torch.float64) for item in dependency_groups]
    if ranking.importance == "taylor":
        scores = _taylor(module, dependency_groups, ranking)
    elif ranking.importance == "reconstruction":
        scores = _reconstruction(module, dependency_groups, ranking, listener)
    else:
        score = {"bn-scale": _scale, "fpgm": _distance}.get(ranking.importance, _square)
        scores = [_gathered(module, item, score) for item in dependency_groups]
    if ranking.importance == "lamp":
        return [None if item is None else _lamp(item) for item in scores]
    return [None if item is None else _of_mean_one(item) for item in scores]


def _reconstruction(
    module: nn.Module, dependency_groups: Sequence[DependencyGroup], ranking: Ranking, listener: Listener
) -> list[Tensor | None]:
    """By squared weights where no layer that reads the channels can be reconstructed."""
    if ranking.images is None:
        raise InputError(
            "no-images",
            "importance 'reconstruction' looks at images, and there are none",
            hint="give --data DIR with a train/ folder, or --importance group-l2",
        )
    scores = reconstruction.scores(module, dependency_groups, ranking.images, seed=ranking.seed, listener=listener)
    return [
        _gathered(module, item, _square) if mine is None else mine
        for item, mine in zip(dependency_groups, scores, strict=True)
    ]


def _gathered(module: nn.Module, dependencies: DependencyGroup, score: Score) -> Tensor | None:
    """The mean over the layers of what each says of the channel."""
    total, count = torch.zeros(dependencies.channels, dtype=torch.float64), 0
    for member in dependencies.members:
        if member.axis == "parameter":
            continue
        mine = score(module.get_submodule(member.path), member.axis)
        if mine is not None:
            roots = torch.from_numpy(member.roots)
            total.index_add_(0, roots, mine.double().cpu()[torch.from_numpy(member.indices)])
            count += 1
    return total / count if count else None


def slices(layer: nn.Module, weight: Tensor, axis: Axis) -> Tensor:
    """The weights of each channel along the axis, (channels, weights)."""
    transposed = isinstance(layer, _ConvTransposeNd)
    if (axis == "out") != transposed:
        return weight.flatten(1)
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    blocks = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return blocks.permute(0, 2, 1, 3).reshape(groups * weight.shape[1], -1)


def _square(layer: nn.Module, axis: Axis) -> Tensor | None:
    if is_layer(layer):
        return slices(layer, layer.get_parameter("weight").detach(), axis).square().sum(1)
    return layer.weight.detach().square() if isinstance(layer, _BatchNorm) and layer.affine else None


def _scale(layer: nn.Module, axis: Axis) -> Tensor | None:
    return layer.weight.detach().abs() if isinstance(layer, _BatchNorm) and layer.affine else None


def _distance(layer: nn.Module, axis: Axis) -> Tensor | None:
    if not is_layer(layer) or axis != "out":
        return None
    filters = slices(layer, layer.get_parameter("weight").detach(), axis)
    return torch.cdist(filters[None], filters[None])[0].sum(1)


def _taylor(module: nn.Module, dependency_groups: Sequence[DependencyGroup], ranking: Ranking) -> list[Tensor | None]:
    """Squared sums of weight times gradient, added over the batches."""
    if ranking.losses is None:
        raise InputError(
            "no-loss",
            "importance 'taylor' ranks channels by the loss on labelled training images, and there are none",
            hint="give --data DIR with a train/ folder, or --importance group-l2",
        )
    totals: dict[tuple[int, Axis], Tensor] = {}
    layers = {id(item): item for item in module.modules() if is_layer(item) or isinstance(item, _BatchNorm)}
    wanted = [item for item in module.parameters() if not item.requires_grad]
    for item in wanted:
        item.requires_grad_(True)
    try:
        for loss in ranking.losses(module):
            module.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for key, layer in layers.items():
                _add_products(totals, key, layer)
    finally:
        module.zero_grad(set_to_none=True)
        for item in wanted:
            item.requires_grad_(False)
    return [_gathered(module, item, lambda layer, axis: totals.get((id(layer), axis))) for item in dependency_groups]


def _add_products(totals: dict[tuple[int, Axis], Tensor], key: int, layer: nn.Module) -> None:
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.grad is None:
        return
    product = weight.detach() * weight.grad
    sides: tuple[Axis, ...] = ("out", "in") if is_layer(layer) else ("out",)
    for axis in sides:
        sums = slices(layer, product, axis).sum(1) if is_layer(layer) else product
        totals[key, axis] = totals.get((key, axis), torch.zeros_like(sums)) + sums.square()


def _of_mean_one(scores: Tensor) -> Tensor:
    mean = float(scores.mean())
    return scores / mean if mean > 0 else torch.ones_like(scores)


def _lamp(scores: Tensor) -> Tensor:
    ordered, order = scores.sort()
    at_least = ordered.flip(0).cumsum(0).flip(0)
    lamp = torch.empty_like(scores)
    lamp[order] = ordered / at_least.clamp_min(1e-300)
    return lamp
