"""The bounds of a drop: how often they are wrong, by adding up the probabilities of all tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from edgecnn.statistics.proportions import clopper_pearson_upper, drop_bounds, drop_confidence, fewest_images

CLAIMS = [0.95, 0.975]
"""A verdict's confidence; and each of two verdicts', where a search may follow the first."""


def most_broken(count: int, drop: float, confidence: float, fixed: np.ndarray) -> np.ndarray:
    """For each number of fixed images the most broken ones that still prove a drop of at most `drop`; -1 where none."""
    middle = fixed + count * drop
    high = np.floor(np.minimum(count - fixed + 1, middle + 1)).astype(int)
    low = np.floor(middle - 8 * np.sqrt(2 * fixed + count * abs(drop) + 1) - 12).astype(int)
    low = np.maximum(np.minimum(low, high - 1), -1)
    high = np.maximum(high, low + 1)
    while (high - low > 1).any():
        half, open_ = (low + high) // 2, high - low > 1
        proven = drop_confidence(np.maximum(half, 0), fixed, count, drop) >= confidence
        low, high = np.where(open_ & proven, half, low), np.where(open_ & ~proven, half, high)
    return low


def errors(count: int, drop: float, confidence: float, steps: int = 25) -> np.ndarray:
    """The exact probability that a true drop of `drop` is proven to be smaller, for one share of fixed images after
    the other: from all disagreements one way to as many as there can be (one in five where images are many)."""
    most = (1 - abs(drop)) / 2 if count <= 100 else min((1 - abs(drop)) / 2, 0.2)
    shares = np.concatenate([[0], np.geomspace(0.01 / count, most, steps)]) + max(0.0, -drop)
    fixed = np.arange(min(count, int(binom.ppf(1 - 1e-9, count, shares.max()))) + 1)
    broken = most_broken(count, drop, confidence, fixed)
    of_rest = np.minimum(1, (shares + drop) / (1 - np.minimum(shares, 1 - 1e-12)))
    proven = np.where(broken >= 0, binom.cdf(broken, np.maximum(count - fixed, 0), of_rest[:, None]), 0)
    total: np.ndarray = (binom.pmf(fixed, count, shares[:, None]) * proven).sum(1)
    return total


@pytest.mark.parametrize("confidence", CLAIMS)
@pytest.mark.parametrize("drop", [0.0, 0.005, 0.01, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("count", [1, 2, 5, 13, 34, 100, 299, 500, 736])
def test_neither_pass_nor_fail_is_wrong_more_often_than_is_claimed(count: int, drop: float, confidence: float) -> None:
    """A FAIL at a drop of d is a PASS at -d of the two networks exchanged."""
    for truth in {drop, -drop}:
        assert errors(count, truth, confidence).max() <= 1 - confidence


@pytest.mark.parametrize("confidence", CLAIMS)
@pytest.mark.parametrize("max_drop", [0.003, 0.01, 0.02, 0.1])
def test_the_fewest_images_prove_the_budget_and_one_less_does_not(max_drop: float, confidence: float) -> None:
    count = fewest_images(max_drop, confidence=confidence)
    assert count is not None
    assert errors(count, max_drop, confidence).max() <= 1 - confidence
    assert drop_bounds(0, 0, count, confidence)[1] <= max_drop < drop_bounds(0, 0, count - 1, confidence)[1]


def test_one_percent_takes_299_images_and_368_where_two_verdicts_share_the_error() -> None:
    assert [fewest_images(0.01, confidence=confidence) for confidence in CLAIMS] == [299, 368]
    assert fewest_images(0.0) is None and fewest_images(1e-12) is None


def test_the_claim_is_not_far_from_what_is_true() -> None:
    """Whoever always says INCONCLUSIVE is never wrong either."""
    assert errors(299, 0.01, 0.95).max() > 0.049
    assert errors(736, 0.01, 0.95).mean() > 0.03
    assert errors(736, -0.01, 0.95).max() > 0.04


@pytest.mark.parametrize(("broke", "count"), [(0, 30), (1, 44), (7, 500), (30, 30)])
def test_with_nothing_fixed_the_upper_bound_is_clopper_and_pearsons(broke: int, count: int) -> None:
    assert drop_bounds(broke, 0, count)[1] == pytest.approx(clopper_pearson_upper(broke, count), abs=1e-7)


@pytest.mark.parametrize(("broke", "fixed"), [(60, 40), (59, 40), (40, 60), (5, 1), (0, 5), (4, 0)])
def test_a_drop_is_proven_where_the_exact_sign_test_proves_it(broke: int, fixed: int) -> None:
    """McNemar's exact test asks whether the drop is more than nothing."""
    p_value = binom.sf(broke - 1, broke + fixed, 0.5)
    assert 1 - float(drop_confidence(fixed, broke, 400, 0.0)) == pytest.approx(p_value, abs=1e-9)
    assert (drop_bounds(broke, fixed, 400)[0] > 0) == (p_value < 0.05)


@pytest.mark.parametrize(("broke", "fixed", "count"), [(40, 20, 160), (0, 0, 100), (0, 5, 25), (13, 3, 400), (1, 1, 2)])
def test_the_bounds_enclose_the_drop_and_mirror_when_the_models_swap(broke: int, fixed: int, count: int) -> None:
    low, high = drop_bounds(broke, fixed, count)
    assert -1 <= low < (broke - fixed) / count < high <= 1
    assert drop_bounds(fixed, broke, count) == (pytest.approx(-high, abs=1e-9), pytest.approx(-low, abs=1e-9))
    assert float(drop_confidence(broke, fixed, count, high)) == pytest.approx(0.95, abs=1e-6)
    wider = drop_bounds(broke, fixed, count, 0.975)
    assert wider[0] < low and high < wider[1]


@pytest.mark.parametrize(("broke", "fixed", "count"), [(3, 1, 500), (40, 20, 160), (6, 16, 161), (2500, 2000, 50_000)])
def test_the_bound_is_the_quantile_of_the_melded_distributions(broke: int, fixed: int, count: int) -> None:
    rng, draws, changed = np.random.default_rng(3), 400_000, broke + fixed
    direction = 2 * rng.beta(broke + 1, fixed, draws) - 1
    upper, lower = rng.beta(changed + 1, count - changed, draws), rng.beta(changed, count - changed + 1, draws)
    drops = np.where(direction >= 0, upper, lower) * direction
    assert drop_bounds(broke, fixed, count)[1] == pytest.approx(np.quantile(drops, 0.95), abs=0.01 * drops.std() + 1e-6)


def test_all_images_discordant_one_way_reach_the_end() -> None:
    assert drop_bounds(50, 0, 50)[1] == 1.0
    assert drop_bounds(0, 50, 50)[0] == -1.0
    assert drop_bounds(1, 0, 1)[1] == 1.0
