"""Sequential looks: their errors add up to what is allowed, and simulated runs keep to it."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.statistics.proportions import drop_confidence
from edgecnn.statistics.sequential import looks

RUNS = 20_000


@pytest.mark.parametrize("count", [1, 50, 99, 100, 101, 1_000, 10_000])
def test_the_errors_of_all_looks_add_up_to_what_is_allowed(count: int) -> None:
    plan = looks(count)
    assert sum(1 - look.confidence for look in plan) == pytest.approx(0.05)
    sizes = [look.images for look in plan]
    assert sizes[-1] == count and sizes == sorted(set(sizes))
    assert plan[0].images == (50 if count >= 100 else count)


def test_another_confidence_is_shared_out_alike() -> None:
    assert sum(1 - look.confidence for look in looks(5_000, confidence=0.99)) == pytest.approx(0.01)


def _wrong(drop: float, changed: float, *, outcome: str, max_drop: float, count: int) -> float:
    """How often runs with that true drop end with the wrong outcome, at any look."""
    rng = np.random.default_rng(3)
    broke, fixed = np.zeros(RUNS, int), np.zeros(RUNS, int)
    ended, wrong, seen = np.zeros(RUNS, bool), np.zeros(RUNS, bool), 0
    shares = [(changed + drop) / 2, (changed - drop) / 2, 1 - changed]
    for look in looks(count):
        new = rng.multinomial(look.images - seen, shares, RUNS)
        broke, fixed, seen = broke + new[:, 0], fixed + new[:, 1], look.images
        pairs, which = np.unique(np.stack([broke, fixed], 1), axis=0, return_inverse=True)
        passes = (drop_confidence(pairs[:, 0], pairs[:, 1], seen, max_drop) >= look.confidence)[which]
        fails = (drop_confidence(pairs[:, 1], pairs[:, 0], seen, -max_drop) >= look.confidence)[which]
        wrong |= ~ended & (passes if outcome == "PASS" else fails)
        ended |= passes | fails
    return float(wrong.mean())


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.021, 0.1, 0.4])
def test_a_wrong_pass_at_any_look_stays_below_5_percent(changed: float) -> None:
    assert _wrong(0.0201, changed, outcome="PASS", max_drop=0.02, count=1_600) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.02, 0.1, 0.4])
def test_a_wrong_fail_at_any_look_stays_below_5_percent(changed: float) -> None:
    assert _wrong(0.02, changed, outcome="FAIL", max_drop=0.02, count=1_600) <= 0.05


def test_a_collapsed_network_fails_at_the_first_look() -> None:
    first = looks(10_000)[0]
    assert drop_confidence(0, 35, first.images, -0.01) >= first.confidence
