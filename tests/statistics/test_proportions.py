"""Intervals of proportions, and the images it takes to decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from edgecnn.statistics import proportions


@pytest.mark.parametrize(("discordance", "images"), [(0.02, 4941), (0.05, 12351), (0.10, 24701)])
def test_images_needed_agree_with_the_simple_formula(discordance: float, images: int) -> None:
    """(z_0.95 + z_0.80)^2 discordance / slack^2, which neglects the variance at the budget; slack is half a point."""
    needed = proportions.images_to_decide(0.005, discordance, 0.01)
    assert needed is not None
    assert images <= needed <= 1.12 * images


@pytest.mark.parametrize(
    ("broke", "fixed", "budget"), [(0.02, 0.015, 0.015), (0.0125, 0.0075, 0.01), (0.005, 0.0, 0.02), (0.01, 0.02, 0.0)]
)
def test_that_many_images_decide_four_times_in_five(broke: float, fixed: float, budget: float) -> None:
    count = proportions.images_to_decide(broke - fixed, broke + fixed, budget)
    assert count is not None
    draws = np.random.default_rng(5).multinomial(count, [broke, fixed, 1 - broke - fixed], 1500)
    proven = proportions.drop_confidence(draws[:, 0], draws[:, 1], count, budget) >= 0.95
    # Small counts are discrete, so the power is near 80 %, not at it.
    assert 0.75 < np.mean(proven) < 0.90


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
