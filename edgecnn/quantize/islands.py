"""Islands: groups of operators that together compute one activation or norm and cannot be quantized one by one.

Exporters write ELU, Mish, Softplus and LogSigmoid with exponentials and logarithms, norms of one image with a square
root over a mean of squares, LP pooling with a root over a pooled square. On the way a value that is thrown away, or the
square of a large one, takes the whole range of a tensor and its 256 codes with it; the steep operator behind then turns
the rounding of small values into large ones. Such a group stays in float from its entrance to its exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IslandOperator:
    """One operator of a graph in its order: the computed tensors that it `reads` and `writes`; `joins` where it may be
    part of an island, `steep` where its slope is without bounds, so that one makes an island."""

    layer: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    joins: bool
    steep: bool


def float_islands(operators: Sequence[IslandOperator]) -> list[str]:
    """The layers that have to stay in float, in the order of the graph.

    An island has one entrance: the tensor that all of it is computed from. Where an operator reads two entrances, its
    result is a new one.
    """
    entrances: dict[str, str] = {}
    groups: dict[str, list[IslandOperator]] = {}
    for operator in operators:
        sources = {entrances.get(name, name) for name in operator.reads}
        entrance = next(iter(sources)) if operator.joins and len(sources) == 1 else None
        for name in operator.writes:
            entrances[name] = name if entrance is None else entrance
        if entrance is not None:
            groups.setdefault(entrance, []).append(operator)
    kept = {operator.layer for group in groups.values() for operator in _around_steep(group)}
    return [operator.layer for operator in operators if operator.layer in kept]


def _around_steep(group: Sequence[IslandOperator]) -> list[IslandOperator]:
    """The steep operators, those behind them, and those that either are computed from."""
    behind: set[str] = set()
    kept: set[str] = set()
    for operator in group:
        if operator.steep or behind.intersection(operator.reads):
            kept.add(operator.layer)
            behind.update(operator.writes)
    needed = {name for operator in group if operator.layer in kept for name in operator.reads}
    for operator in reversed(group):
        if needed.intersection(operator.writes):
            kept.add(operator.layer)
            needed.update(operator.reads)
    return [operator for operator in group if operator.layer in kept]
