"""The knapsack is exact, keeps its budget, and knows what multiply-accumulates do not: where time is flat."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from edgecnn.compress.prune.knapsack import Choices, LatencyModel, choose, knapsack, rising


def best_by_trying_all(costs: Sequence[np.ndarray], worth: Sequence[np.ndarray], budget: float) -> float:
    options = itertools.product(*(range(len(cost)) for cost in costs))
    fitting = [pick for pick in options if sum(c[o] for c, o in zip(costs, pick, strict=True)) <= budget]
    return max(sum(w[o] for w, o in zip(worth, pick, strict=True)) for pick in fitting)


@pytest.mark.parametrize("seed", range(6))
def test_the_knapsack_finds_the_best_of_all(seed: int) -> None:
    """Costs are whole numbers of which the budget is at most as many as there are bins: nothing is rounded."""
    rng = np.random.default_rng(seed)
    costs = [rng.integers(-5, 40, rng.integers(1, 6)).astype(float) for _ in range(5)]
    worth = [rng.random(len(cost)) for cost in costs]
    least, most = sum(c.min() for c in costs), sum(c.max() for c in costs)
    for budget in np.linspace(least, most, 7).round():
        picked = knapsack(costs, worth, float(budget), bins=max(1, int(budget - least)))
        assert picked is not None
        assert sum(c[o] for c, o in zip(costs, picked, strict=True)) <= budget
        found = sum(w[o] for w, o in zip(worth, picked, strict=True))
        assert found == pytest.approx(best_by_trying_all(costs, worth, float(budget)))
    assert knapsack(costs, worth, least - 1) is None


def test_rounded_costs_never_break_the_budget() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        costs = [np.sort(rng.random(9)) for _ in range(12)]
        worth = [np.sort(rng.random(9)) for _ in range(12)]
        budget = float(rng.uniform(sum(c.min() for c in costs), sum(c.max() for c in costs)))
        picked = knapsack(costs, worth, budget, bins=50)
        assert picked is not None
        assert sum(c[o] for c, o in zip(costs, picked, strict=True)) <= budget


def test_what_noise_turns_round_is_averaged() -> None:
    assert rising(np.array([1.0, 3.0, 2.0, 5.0, 4.0, 3.0, 9.0])).tolist() == [1.0, 2.5, 2.5, 4.0, 4.0, 4.0, 9.0]


STEPS = tuple(range(8, 65, 8))


def group(name: str, importance: float) -> Choices:
    """64 channels of equal importance, to be cut in steps of 8."""
    return Choices(name, STEPS, tuple(importance * count for count in STEPS))


LAYERS: Mapping[str, Mapping[str, float]] = {
    "stem": {"a": 1.0},
    "middle": {"a": 0.5, "b": 0.5},
    "last": {"b": 0.5, "c": 0.5},
    "head": {"c": 1.0},
}
GROUPS = (group("a", 1.0), group("b", 1.1), group("c", 0.9))
FULL = {"stem": 20.0, "middle": 400.0, "last": 400.0, "head": 5.0}


def multiply_accumulates(counts: Sequence[int]) -> dict[str, float]:
    shares = {name: count / 64 for name, count in zip("abc", counts, strict=True)}
    return {name: FULL[name] * math.prod(shares[g] for g in parts) for name, parts in LAYERS.items()}


def on_plateaus(counts: Sequence[int]) -> dict[str, float]:
    """Kernels that compute 32 channels at a time, and a first layer that waits for memory whatever it computes."""
    return {**multiply_accumulates([32 * math.ceil(count / 32) for count in counts]), "stem": 300.0}


def total(times: Mapping[str, float]) -> float:
    return sum(times.values())


def model_of(times_of: Callable[[Sequence[int]], Mapping[str, float]]) -> LatencyModel:
    model = LatencyModel(LAYERS, GROUPS)
    model.learn([([step] * 3, times_of([step] * 3)) for step in STEPS])
    return model


def counts_of(picked: Sequence[int]) -> list[int]:
    return [STEPS[option] for option in picked]


def worth_of(picked: Sequence[int]) -> float:
    return sum(g.worth[option] for g, option in zip(GROUPS, picked, strict=True))


WHOLE = [len(STEPS) - 1] * 3
ALL = list(itertools.product(range(len(STEPS)), repeat=3))


@pytest.mark.parametrize("times_of", [multiply_accumulates, on_plateaus])
def test_times_are_predicted_off_the_diagonal(times_of: Callable[[Sequence[int]], Mapping[str, float]]) -> None:
    """Only networks of one share were measured; what one group alone does follows."""
    model = model_of(times_of)
    for picked in ALL:
        assert model.ns(picked) == pytest.approx(total(times_of(counts_of(picked))))
    for place, changes in enumerate(model.changes([7, 4, 2])):
        moved = [[option if index == place else now for index, now in enumerate([7, 4, 2])] for option in range(8)]
        assert changes == pytest.approx([model.ns(other) - model.ns([7, 4, 2]) for other in moved])


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.35])
@pytest.mark.parametrize("times_of", [multiply_accumulates, on_plateaus])
def test_the_choice_is_near_the_best_of_all_and_within_the_budget(
    times_of: Callable[[Sequence[int]], Mapping[str, float]], share: float
) -> None:
    model = model_of(times_of)
    budget = max(share * model.ns(WHOLE), 1.01 * model.ns([0, 0, 0]))
    picked = choose(model, GROUPS, budget)
    assert picked is not None
    assert model.ns(picked) <= budget
    assert worth_of(picked) >= 0.97 * max(worth_of(other) for other in ALL if model.ns(other) <= budget)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.5])
def test_on_plateaus_it_keeps_what_costs_nothing_and_beats_the_count_of_macs(share: float) -> None:
    """Of all networks that are best by multiply-accumulates none that is as fast keeps as much: it has paid in channels
    whose time is flat."""
    by_macs, by_time = model_of(multiply_accumulates), model_of(on_plateaus)
    budget = share * total(on_plateaus(counts_of(WHOLE)))
    picked = choose(by_time, GROUPS, budget)
    assert picked is not None
    assert total(on_plateaus(counts_of(picked))) <= 1.000001 * budget
    assert all(count % 32 == 0 for count in counts_of(picked))  # less within a block of 32 would save nothing
    asked = [choose(by_macs, GROUPS, kept * by_macs.ns(WHOLE)) for kept in np.linspace(1, 0.02, 99)]
    as_fast = [other for other in asked if other is not None and total(on_plateaus(counts_of(other))) <= budget]
    assert worth_of(picked) > max(worth_of(other) for other in as_fast)


def test_a_budget_that_cannot_be_met_and_one_that_is_met_already() -> None:
    model = model_of(on_plateaus)
    assert choose(model, GROUPS, 0.05 * model.ns(WHOLE)) is None
    assert choose(model, GROUPS, 1.01 * model.ns(WHOLE)) == WHOLE


def test_a_network_that_was_made_and_measured_corrects_each_layer() -> None:
    model = model_of(multiply_accumulates)
    budget = 0.6 * model.ns(WHOLE)
    before = choose(model, GROUPS, budget)
    assert before is not None
    found = multiply_accumulates(counts_of(before))
    model.correct(before, {**found, "middle": 1.5 * found["middle"]})
    assert model.ns(before) == pytest.approx(total(found) + 0.5 * found["middle"])
    after = choose(model, GROUPS, budget)
    assert after is not None
    assert model.ns(after) <= budget
    assert worth_of(after) < worth_of(before)
