"""Groups of channels that are pruned together, their ranking, and the result: light types, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgecnn.models.pruned import PruningPlan

Axis = Literal["out", "in", "parameter"]
Importance = Literal["group-l2", "taylor", "bn-scale", "fpgm", "lamp", "reconstruction", "random"]
Losses = Callable[["nn.Module"], Iterable["Tensor"]]
"""Gives one mean loss per batch of training images, each with its graph: what `taylor` ranks by."""
Batches = Callable[[], Iterable["Tensor"]]
"""Gives batches of images, normalised, float32 (N, C, H, W): what `reconstruction` looks at."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One axis of one tensor that follows a root layer: the channels `indices` of it, int64 (n,), are those of the root
    channels `roots`, int64 (n,). `dim` is that of a plain parameter."""

    path: str
    axis: Axis
    indices: np.ndarray
    roots: np.ndarray
    dim: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class DependencyGroup:
    """All that changes with the outputs of the layer `root`. `obstacle` says why it cannot, where that is known."""

    root: str
    channels: int
    members: tuple[Member, ...]
    obstacle: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose outputs are these channels, the root first."""
        return tuple(dict.fromkeys([self.root, *(item.path for item in self.members if item.axis == "out")]))


@dataclass(frozen=True, slots=True)
class Ranking:
    """How channels are compared and what bounds there are.

    `round_to`: the channels left are a multiple of it; `max_layer` the largest share of a layer that may go; `ignore`
    modules, by path or regular expression, that stay whole with all in them; `losses` is what `taylor` needs, `images`
    what `reconstruction` does.
    """

    importance: Importance = "group-l2"
    round_to: int = 16
    max_layer: float = 0.75
    ignore: tuple[str, ...] = ()
    seed: int = 0
    losses: Losses | None = None
    images: Batches | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PrunableGroup:
    """A root layer and the layers coupled to it, found by trial to work with fewer channels.

    `layers` are (path, "out" | "in") of every layer that changes with it, the root's "out" first; `widths` the numbers
    of channels it may be given, ascending, the last of them all it has; `order` its channels, the least important
    first; `scores` the importance of each channel, by index, comparable between groups.
    """

    root: str
    layers: tuple[tuple[str, Literal["out", "in"]], ...]
    channels: int
    widths: tuple[int, ...]
    order: tuple[int, ...]
    scores: tuple[float, ...]
    step: int = 1
    """Channels that go at a time: more than one where a grouped convolution needs equal groups."""
    dependencies: DependencyGroup | None = field(default=None, repr=False)

    def kept(self, width: int) -> tuple[int, ...]:
        """The channels left at that width, ascending."""
        return tuple(sorted(self.order[self.channels - width :]))

    def worth(self, width: int) -> float:
        """The summed importance of the channels left at that width: what a knapsack makes large."""
        return float(sum(self.scores[index] for index in self.kept(width)))


@dataclass(frozen=True, slots=True)
class Prunable:
    """The groups of a network that can be pruned, and why each other layer cannot (path to reason)."""

    groups: tuple[PrunableGroup, ...]
    unpruned: Mapping[str, str]

    def __iter__(self) -> Iterator[PrunableGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """A smaller network. `plan` says what is left of the one it was made from; `facts` are JSON."""

    module: nn.Module
    plan: PruningPlan
    facts: dict[str, Any]
    unpruned: Mapping[str, str]


def shares(groups: Sequence[PrunableGroup], widths: Mapping[str, int]) -> dict[str, float]:
    """The share of channels left in each root layer that `widths` names."""
    return {group.root: widths[group.root] / group.channels for group in groups if group.root in widths}
