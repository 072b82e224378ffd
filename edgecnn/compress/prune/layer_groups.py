"""Layer groups: which groups of channels decide the time of a node in the exported file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from edgecnn.compress.prune.group import PrunableGroup

Parts = Mapping[str, float]


def parts_of(names: Iterable[str], module: nn.Module, groups: Sequence[PrunableGroup]) -> dict[str, Parts]:
    """For each node name the groups (by root) its time depends on, with parts that add up to 1.

    A convolution depends half on the channels it makes and half on those it reads, in as far as either can change. An
    activation, a sum or a pool depends on what the last layer before it within its module makes; what bears no module's
    name on all groups alike.
    """
    order = {path: place for place, (path, _) in enumerate(module.named_modules())}
    ends = _Ends(groups)
    everywhere = _shared([[*groups]])
    return {name: _parts(name, order, ends) or everywhere for name in names}


class _Ends:
    """The groups at both ends of each layer."""

    def __init__(self, groups: Sequence[PrunableGroup]) -> None:
        self.makes: dict[str, list[PrunableGroup]] = {}
        self.reads: dict[str, list[PrunableGroup]] = {}
        for group in groups:
            for path, end in group.layers:
                (self.makes if end == "out" else self.reads).setdefault(path, []).append(group)

    def of(self, path: str) -> Parts | None:
        sides = [side for side in (self.makes.get(path), self.reads.get(path)) if side]
        return _shared(sides) if sides else None


def _shared(sides: Sequence[Sequence[PrunableGroup]]) -> Parts:
    """Every side has the same part, and so has every group of a side."""
    parts: dict[str, float] = {}
    for side in sides:
        for group in side:
            parts[group.root] = parts.get(group.root, 0.0) + 1 / len(side) / len(sides)
    return parts


def _parts(name: str, order: Mapping[str, int], ends: _Ends) -> Parts | None:
    path = name
    while path and path not in order:
        path = path.rpartition(".")[0]
    if not path:
        return None
    parent = path.rpartition(".")[0]
    inside = [layer for layer in ends.makes if layer.startswith(f"{path}.")]
    before = [layer for layer in ends.makes if layer.startswith(f"{parent}." if parent else "")]
    maker = max(
        inside or [layer for layer in before if order.get(layer, -1) < order[path]],
        key=lambda layer: order.get(layer, -1),
        default=None,
    )
    return ends.of(path) or (None if maker is None else _shared([ends.makes[maker]]))
