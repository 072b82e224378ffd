"""Intervals of proportions, and the images it takes to decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from edgecnn.statistics import proportions


def test_tangos_own_example() -> None:
    """Tango 1998, section 6.1: 44 pairs, new treatment right alone 0 times, standard alone once; margin 0.1."""
    assert proportions.tango_statistic(1, 0, 44, 0.1) == pytest.approx(-1.709, abs=5e-4)
    _low, high = proportions.tango_bounds(1, 0, 44, 0.95)
    assert high == pytest.approx(0.096, abs=5e-4)


def test_a_published_interval() -> None:
    """Fagerland, Lydersen, Laake, Statistical Analysis of Contingency Tables (2017), ch. 8; data of Cavo 2012."""
    low, high = proportions.tango_bounds(6, 16, 161, 0.975)
    assert (low, high) == (pytest.approx(-0.1240, abs=5e-5), pytest.approx(-0.0054, abs=5e-5))


@pytest.mark.parametrize(("broke", "fixed", "count"), [(40, 20, 160), (0, 0, 100), (0, 5, 25), (13, 3, 400), (1, 1, 2)])
def test_the_bounds_enclose_the_drop_and_mirror_when_the_models_swap(broke: int, fixed: int, count: int) -> None:
    low, high = proportions.tango_bounds(broke, fixed, count)
    assert -1 <= low < (broke - fixed) / count < high <= 1
    mirrored = proportions.tango_bounds(fixed, broke, count)
    assert mirrored == (pytest.approx(-high, abs=1e-9), pytest.approx(-low, abs=1e-9))
    z = 1.6448536
    assert proportions.tango_statistic(broke, fixed, count, low) == pytest.approx(z, abs=1e-5)
    assert proportions.tango_statistic(broke, fixed, count, high) == pytest.approx(-z, abs=1e-5)


def test_without_a_drop_the_statistic_is_mcnemars() -> None:
    assert proportions.tango_statistic(16, 6, 161, 0.0) == pytest.approx(10 / math.sqrt(22))


def test_all_images_discordant_one_way_reach_the_end() -> None:
    assert proportions.tango_bounds(50, 0, 50)[1] == 1.0
    assert proportions.tango_bounds(0, 50, 50)[0] == -1.0
    assert proportions.tango_bounds(1, 0, 1)[1] == 1.0


@pytest.mark.parametrize(
    ("share_broke", "share_fixed", "count"), [(0.03, 0.02, 500), (0.02, 0.0, 300), (0.10, 0.06, 200)]
)
def test_each_bound_covers_the_truth_about_95_times_in_100(share_broke: float, share_fixed: float, count: int) -> None:
    draws = np.random.default_rng(11).multinomial(
        count, [share_broke, share_fixed, 1 - share_broke - share_fixed], 1500
    )
    truth = share_broke - share_fixed
    tables, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    bounds = np.array([proportions.tango_bounds(int(b), int(c), count) for b, c in tables])
    above = counts[bounds[:, 1] >= truth].sum() / counts.sum()
    below = counts[bounds[:, 0] <= truth].sum() / counts.sum()
    # The statistic is discrete, so coverage is near the nominal level, not at it; Monte-Carlo error is 0.6 %.
    assert above > 0.925
    assert below > 0.925


@pytest.mark.parametrize(("discordance", "images"), [(0.02, 4941), (0.05, 12351), (0.10, 24701)])
def test_images_needed_agree_with_the_simple_formula(discordance: float, images: int) -> None:
    """(z_0.95 + z_0.80)^2 discordance / slack^2, which neglects the variance at the budget; slack is half a point."""
    needed = proportions.images_to_decide(0.005, discordance, 0.01)
    assert needed is not None
    assert images <= needed <= 1.08 * images


@pytest.mark.parametrize(
    ("broke", "fixed", "budget"), [(0.02, 0.015, 0.015), (0.0125, 0.0075, 0.01), (0.005, 0.0, 0.02), (0.01, 0.02, 0.0)]
)
def test_that_many_images_decide_four_times_in_five(broke: float, fixed: float, budget: float) -> None:
    count = proportions.images_to_decide(broke - fixed, broke + fixed, budget)
    assert count is not None
    draws = np.random.default_rng(5).multinomial(count, [broke, fixed, 1 - broke - fixed], 1500)
    z = [proportions.tango_statistic(int(b), int(c), count, budget) for b, c in draws[:, :2]]
    # Small counts are discrete, so the power is near 80 %, not at it.
    assert 0.75 < np.mean(np.array(z) <= -1.6449) < 0.90


def test_agreement_needs_as_many_images_as_the_exact_binomial_says() -> None:
    # Nothing disagrees: 1 - 0.05^(1/n) <= 0.01.
    assert proportions.images_to_agree(0.0, 0.01) == math.ceil(math.log(0.05) / math.log(0.99))
    count = proportions.images_to_agree(0.005, 0.01)
    assert count is not None
    passing = max(k for k in range(count) if proportions.clopper_pearson_upper(k, count) <= 0.01)
    assert binom.cdf(passing, count, 0.005) >= 0.8
    assert proportions.images_to_agree(0.01, 0.01) is None
    assert proportions.images_to_agree(0.0, 0.0) is None


def test_clopper_pearson_has_its_textbook_values() -> None:
    assert proportions.clopper_pearson_upper(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert proportions.clopper_pearson_upper(10, 10) == 1.0
    assert binom.cdf(7, 50, proportions.clopper_pearson_upper(7, 50)) == pytest.approx(0.05)
