"""Channel blocks: how many channels of a dependency group are removed at a time, and the plan that results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgecnn.compress.prune.group import Axis, DependencyGroup, Member
from edgecnn.models.pruned import Channels, PruningPlan, is_depthwise, sizes

SIDE_BY_SIDE = "a layer in groups (convolution or norm) reads it beside other layers"


class CannotPrune(Exception):
    """Why a dependency group is left whole, for a person."""


def portions(dependencies: DependencyGroup, module: nn.Module) -> list[list[np.ndarray]]:
    """Clusters of root channels that go together, by block: as many have to stay in each block as in the others.

    One block, and clusters of one channel, are the rule; a grouped convolution or norm makes blocks, and channels that
    meet in one channel of a later layer make clusters. Raises CannotPrune.
    """
    blocks = _blocks(dependencies, module)
    clusters = _clusters(dependencies)
    if len({len(cluster) for cluster in clusters}) > 1:
        raise CannotPrune("its channels meet in later layers in unequal numbers")
    if blocks == 1:
        return [clusters]
    if len(clusters[0]) > 1:
        raise CannotPrune("its channels meet in later layers, and a layer in groups reads them")
    length = dependencies.channels // blocks
    return [clusters[block * length : (block + 1) * length] for block in range(blocks)]


def _blocks(dependencies: DependencyGroup, module: nn.Module) -> int:
    counts = {1}
    for member in dependencies.members:
        if member.axis == "parameter":
            continue
        layer = module.get_submodule(member.path)
        groups = 1
        if isinstance(layer, _ConvNd) and layer.groups > 1 and not is_depthwise(layer):
            groups = layer.groups
            if isinstance(layer, _ConvTransposeNd):
                raise CannotPrune(f"{member.path} is a transposed convolution in groups")
        elif isinstance(layer, nn.GroupNorm):
            groups = layer.num_groups
        if groups > 1 and not _is_whole(member, dependencies, layer):
            raise CannotPrune(SIDE_BY_SIDE)
        counts.add(groups)
    most = max(counts)
    if any(most % groups for groups in counts):
        raise CannotPrune("layers with different numbers of groups read it")
    return most


def _is_whole(member: Member, dependencies: DependencyGroup, layer: nn.Module) -> bool:
    """Whether the layer has the root's channels in their order, and no others."""
    outputs, inputs = sizes(layer) or (0, 0)
    size = inputs if member.axis == "in" else outputs
    return size == dependencies.channels == len(member.indices) and bool(np.array_equal(member.indices, member.roots))


def _clusters(dependencies: DependencyGroup) -> list[np.ndarray]:
    """Root channels that end in one channel somewhere: sets that are disjoint, in the order of their first channel."""
    label = np.arange(dependencies.channels)
    tied = [item for item in dependencies.members if len(np.unique(item.indices)) < len(item.indices)]
    changed = bool(tied)
    while changed:
        before = label.copy()
        for member in tied:
            lowest = np.full(int(member.indices.max()) + 1, dependencies.channels)
            np.minimum.at(lowest, member.indices, label[member.roots])
            np.minimum.at(label, member.roots, lowest[member.indices])
        changed = not np.array_equal(before, label)
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def plan_of(module: nn.Module, chosen: Iterable[tuple[DependencyGroup, Sequence[int]]]) -> PruningPlan:
    """What the network keeps when of each dependency group only the given root channels stay."""
    removed: dict[tuple[str, Axis], list[np.ndarray]] = {}
    dims: dict[str, int] = {}
    for dependencies, kept in chosen:
        goes = np.ones(dependencies.channels, dtype=bool)
        goes[np.asarray(kept, dtype=np.int64)] = False
        if not goes.any():
            continue
        for member in dependencies.members:
            removed.setdefault((member.path, member.axis), []).append(member.indices[goes[member.roots]])
            if member.axis == "parameter":
                dims[member.path] = member.dim
    channels_of: dict[str, Channels] = {}
    for (path, axis), gone in removed.items():
        size = _size(module, path, axis, dims)
        left = np.setdiff1d(np.arange(size), np.concatenate(gone))
        if len(left) == size:
            continue
        before = channels_of.get(path, Channels())
        channels = tuple(left.tolist())
        if axis == "in":
            channels_of[path] = Channels(before.out, channels)
        else:
            channels_of[path] = Channels(channels, before.into, dims.get(path))
    return PruningPlan(channels_of)


def _size(module: nn.Module, path: str, axis: Axis, dims: dict[str, int]) -> int:
    if axis == "parameter":
        return int(module.get_parameter(path).shape[dims[path]])
    outputs, inputs = sizes(module.get_submodule(path)) or (0, 0)
    return inputs if axis == "in" else outputs
