"""Simulated processes: how often a difference is claimed that is not there, and a planted one found.

Times of two candidates in blocks: `between` is the spread of fresh processes, `shared` what a block does to both,
`tail` the share of processes that something disturbed by 5 % on average, `position` what coming first costs.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.measure.comparison import conclusion
from edgecnn.measure.latency import orders

WORLDS = {
    "quiet": {"between": 0.003, "shared": 0.003},
    "usual": {"between": 0.01, "shared": 0.01},
    "drifting board": {"between": 0.01, "shared": 0.05},
    "noisy": {"between": 0.03, "shared": 0.03},
    "disturbed": {"between": 0.01, "shared": 0.02, "tail": 0.15},
    "order matters": {"between": 0.003, "shared": 0.01, "position": 0.03},
}
EXPERIMENTS = 2000


def claims(blocks: int, slowdown: float, *, seed: int, **world: float) -> dict[str, float]:
    """Share of each conclusion about a candidate that is slower by `slowdown`."""
    rng = np.random.default_rng(seed)
    said: dict[str, int] = {}
    for experiment in range(EXPERIMENTS):
        logs = []
        for order in orders(2, blocks, seed=experiment):
            times = rng.normal(0, world["between"], 2) + rng.normal(0, world["shared"])
            times += (rng.random(2) < world.get("tail", 0)) * rng.exponential(0.05, 2)
            times[order[0]] += world.get("position", 0)
            times[1] += np.log1p(slowdown)
            logs.append(float(times[0] - times[1]))
        word = conclusion(logs)
        said[word] = said.get(word, 0) + 1
    return {word: count / EXPERIMENTS for word, count in said.items()}


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [3, 5])
@pytest.mark.parametrize("world", WORLDS)
def test_the_same_file_twice_is_told_apart_in_three_of_a_hundred_at_most(world: str, blocks: int) -> None:
    said = claims(blocks, 0.0, seed=1, **WORLDS[world])
    assert said.get("faster", 0) + said.get("slower", 0) <= 0.03


@pytest.mark.parametrize("world", ["quiet", "usual", "drifting board"])
def test_a_planted_slowdown_of_5_percent_is_found_by_five_blocks(world: str) -> None:
    said = claims(5, 0.05, seed=2, **WORLDS[world])
    assert said["slower"] >= 0.95
    assert said.get("faster", 0) == 0


def test_two_blocks_never_suffice() -> None:
    assert conclusion([0.5, 0.5]) == "too few processes to tell"
    assert conclusion([0.5, 0.5, 0.5]) == "faster"
    assert conclusion([-0.005] * 9) == "no measurable difference", "sure, but not worth a word"
