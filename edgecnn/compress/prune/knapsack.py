"""Knapsack: how many channels each group keeps under a latency budget, from measured times.

After the idea of M. Shen et al., Structural Pruning via Latency-Saliency Knapsack (HALP), NeurIPS 2022,
arXiv:2210.06659: the kept channels' importance is the value, the layers' measured time the cost. Ours solves it by
exact dynamic programming over discretised latency, and again around each answer, because the time of a layer depends
on the channels of two groups: those it reads and those it makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BINS = 2000
"""Steps into which the latency left to give away is cut."""
ROUNDS = 8
_TINY = 1e-9
_LEAST_NS = 1e-3
"""What stands for a layer that took no time that the clock could tell, or that the runtime merged into another."""
_LARGEST_CORRECTION = 2.0


@dataclass(frozen=True, slots=True)
class Choices:
    """What a group of coupled channels may be cut to: `counts` rising, the last all it has, and the summed importance
    of the channels kept, in a unit that all groups share."""

    name: str
    counts: tuple[int, ...]
    worth: tuple[float, ...]


def rising(values: np.ndarray) -> np.ndarray:
    """The nearest sequence that never falls, in the least-squares sense (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])


class LatencyModel:
    """Predicted time of a network by the channel counts of its groups, the sum over its layers.

    A layer's time t is measured where all groups keep about one share s. Where its groups a and b keep different ones
    it is taken as sqrt(t(s_a) t(s_b)): exact where the time is a product of what the channels read and the channels
    made contribute alike, as multiply-accumulates and whole blocks of channels do.
    """

    def __init__(self, layers: Mapping[str, Mapping[str, float]], groups: Sequence[Choices]) -> None:
        """`layers` gives for each layer its groups and their parts in it, which add up to 1."""
        place = {group.name: index for index, group in enumerate(groups)}
        self._groups = groups
        self._names = list(layers)
        self._parts = [{place[name]: part for name, part in parts.items()} for parts in layers.values()]
        self._users: list[list[int]] = [[] for _ in groups]
        for row, parts in enumerate(self._parts):
            for index in parts:
                self._users[index].append(row)
        self._logs: list[dict[int, np.ndarray]] = []
        self._shift = np.zeros(len(layers))

    def learn(self, measured: Sequence[tuple[Sequence[int], Mapping[str, float]]]) -> None:
        """`measured` are channel counts in the order of the groups, and the time in ns of each layer there.

        More channels never take less time: where noise says otherwise neighbours are averaged.
        """
        self._logs = [
            {index: part * self._log_times(row, index, measured) for index, part in parts.items()}
            for row, parts in enumerate(self._parts)
        ]

    def _log_times(
        self, row: int, index: int, measured: Sequence[tuple[Sequence[int], Mapping[str, float]]]
    ) -> np.ndarray:
        """For each count that the group may have, interpolated between those that were measured."""
        points: dict[int, list[float]] = {}
        for counts, times in measured:
            points.setdefault(counts[index], []).append(times.get(self._names[row], 0.0))
        at = sorted(points)
        times_ns = rising(np.array([np.mean(points[count]) for count in at]))
        logs: np.ndarray = np.log(np.maximum(_LEAST_NS, np.interp(self._groups[index].counts, at, times_ns)))
        return logs

    def correct(self, picked: Sequence[int], times: Mapping[str, float]) -> None:
        """Learn from a network that was made and measured: each layer's time there, and the whole of it."""
        predicted = self.by_layer(picked)
        for row, name in enumerate(self._names):
            if times.get(name, 0.0) > 0:
                factor = float(np.clip(times[name] / predicted[row], 1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION))
                self._shift[row] += np.log(factor)
        self._shift += np.log(sum(times.values()) / self.ns(picked))

    def by_layer(self, picked: Sequence[int]) -> np.ndarray:
        """ns of each layer; `picked` are places in the groups' counts."""
        logs = [sum(float(log[picked[index]]) for index, log in row.items()) for row in self._logs]
        times: np.ndarray = np.exp(self._shift + np.array(logs))
        return times

    def ns(self, picked: Sequence[int]) -> float:
        return float(self.by_layer(picked).sum())

    def changes(self, picked: Sequence[int]) -> list[np.ndarray]:
        """For each group how many ns it adds to take each of its counts, the others staying."""
        now = self.by_layer(picked)
        changes = []
        for index, group in enumerate(self._groups):
            change = np.zeros(len(group.counts))
            for row in self._users[index]:
                log = self._logs[row][index]
                change += now[row] * np.expm1(log - log[picked[index]])
            changes.append(change)
        return changes


def knapsack(
    costs: Sequence[np.ndarray], worth: Sequence[np.ndarray], budget: float, *, bins: int = BINS
) -> list[int] | None:
    """One option of each group, of the greatest summed worth among those whose summed cost is within `budget`.

    Exact for costs rounded up to the `bins` steps between the cheapest choice and the budget, so never beyond it. None
    when even the cheapest is too dear. Costs may be negative; budget and costs in one unit.
    """
    least = sum(float(cost.min()) for cost in costs)
    free = budget - least
    if free < -_TINY * max(1.0, abs(budget)):
        return None
    unit = max(free, _TINY) / bins
    best, taken = np.zeros(bins + 1), np.zeros((len(costs), bins + 1), np.int32)
    for place, (cost, value) in enumerate(zip(costs, worth, strict=True)):
        steps = np.ceil((cost - cost.min()) / unit - _TINY).astype(int)
        reached = np.full(bins + 1, -np.inf)
        for option, step in enumerate(steps.tolist()):
            if step > bins:
                continue
            there = best[: bins + 1 - step] + value[option]
            better = there > reached[step:]
            reached[step:][better] = there[better]
            taken[place, step:][better] = option
        best = reached
    picked, left = [0] * len(costs), bins
    for place in range(len(costs) - 1, -1, -1):
        option = int(taken[place, left])
        picked[place] = option
        left -= int(np.ceil((costs[place][option] - costs[place].min()) / unit - _TINY))
    return picked


def choose(model: LatencyModel, groups: Sequence[Choices], budget_ns: float) -> list[int] | None:
    """The places in the groups' counts that keep the most importance within `budget_ns` as predicted.

    None when even the smallest counts take longer.
    """
    if model.ns([0] * len(groups)) > budget_ns:
        return None
    uniform, whole = _uniform(model, groups, budget_ns), [len(group.counts) - 1 for group in groups]
    answers = [uniform, *(_around(model, groups, start, budget_ns) for start in (whole, uniform))]
    return max(answers, key=lambda picked: _worth(groups, picked))


def _around(model: LatencyModel, groups: Sequence[Choices], start: Sequence[int], budget_ns: float) -> list[int]:
    """The best of a row of knapsacks, each with the layers' times as they are around the answer before."""
    worth = [np.asarray(group.worth) for group in groups]
    picked, answers = list(start), list[list[int]]()
    for _ in range(ROUNDS):
        choice = knapsack(model.changes(picked), worth, budget_ns - model.ns(picked))
        picked = _filled(model, groups, _within(model, groups, choice or [0] * len(groups), budget_ns), budget_ns)
        if picked in answers:
            break
        answers.append(picked)
    return max(answers, key=lambda answer: _worth(groups, answer))


def _worth(groups: Sequence[Choices], picked: Sequence[int]) -> float:
    return sum(group.worth[option] for group, option in zip(groups, picked, strict=True))


def _uniform(model: LatencyModel, groups: Sequence[Choices], budget_ns: float) -> list[int]:
    """The largest share that all groups can keep within the budget: where the search begins."""
    for share in np.linspace(1.0, 0.0, 101):
        picked = [max(0, sum(count <= share * group.counts[-1] for count in group.counts) - 1) for group in groups]
        if model.ns(picked) <= budget_ns:
            return picked
    return [0] * len(groups)


def _within(model: LatencyModel, groups: Sequence[Choices], picked: Sequence[int], budget_ns: float) -> list[int]:
    """Take channels away, those of the least importance for the time they save first, until the budget holds."""
    picked = list(picked)
    while model.ns(picked) > budget_ns:
        changes = model.changes(picked)
        _, index, option = min(
            (_rate(group.worth[picked[index]] - group.worth[option], -float(changes[index][option])), index, option)
            for index, group in enumerate(groups)
            for option in range(picked[index])
        )
        picked[index] = option
    return picked


def _filled(model: LatencyModel, groups: Sequence[Choices], picked: Sequence[int], budget_ns: float) -> list[int]:
    """Give back what still fits, what keeps the most importance for its time first."""
    picked = list(picked)
    while True:
        left, changes = budget_ns - model.ns(picked), model.changes(picked)
        steps = [
            (_rate(group.worth[option] - group.worth[picked[index]], float(changes[index][option])), index, option)
            for index, group in enumerate(groups)
            for option in range(picked[index] + 1, len(group.counts))
            if changes[index][option] <= left
        ]
        if not steps:
            return picked
        _, index, option = max(steps)
        picked[index] = option


def _rate(worth: float, ns: float) -> float:
    """Importance per time; what takes no time is worth any price."""
    return worth / max(ns, _TINY)
