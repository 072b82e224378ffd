from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from edgecnn.core.errors import InputError
from edgecnn.statistics import proportions
from edgecnn.tasks.classification.verdict import judge, suspicions


def predictions(broke: int, fixed: int, count: int, right: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Baseline, candidate, labels: that many discordant images, `right` that both get right, the rest both wrong."""
    labels = np.zeros(count, int)
    baseline, candidate = np.ones(count, int), np.ones(count, int)
    baseline[:broke] = 0
    candidate[broke : broke + fixed] = 0
    both = slice(broke + fixed, broke + fixed + right)
    baseline[both] = candidate[both] = 0
    return baseline, candidate, labels


# --- Tango's interval -------------------------------------------------------------------------------------------------


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


# --- judging ----------------------------------------------------------------------------------------------------------


def test_a_clear_pass_a_clear_fail_and_a_shrug() -> None:
    passed = judge(*predictions(10, 8, 10_000, 9_000), max_drop=0.01)
    assert passed.outcome == "PASS"
    assert (passed.broke, passed.fixed, passed.drop) == (10, 8, pytest.approx(0.0002))
    assert passed.drop_high is not None and passed.drop_high <= 0.01
    assert passed.agreement == pytest.approx(1 - 18 / 10_000)
    assert passed.images_needed is None

    failed = judge(*predictions(600, 100, 10_000, 8_000), max_drop=0.01)
    assert failed.outcome == "FAIL"
    assert failed.drop_low is not None and failed.drop_low > 0.01
    assert "5.00" not in failed.why and "1.00 %" in failed.why

    unsure = judge(*predictions(25, 20, 1_000, 700), max_drop=0.01)
    assert unsure.outcome == "INCONCLUSIVE"
    assert unsure.images_needed is not None and unsure.images_needed > 1_000


def test_equal_predictions_pass_once_there_are_enough_images() -> None:
    few, many = judge(*predictions(0, 0, 100, 80), max_drop=0.01), judge(*predictions(0, 0, 300, 240), max_drop=0.01)
    assert few.outcome == "INCONCLUSIVE"
    assert many.outcome == "PASS"
    # With no disagreement the bound is z^2 / (n + z^2).
    assert many.drop_high == pytest.approx(2.7055 / 302.7055, abs=1e-5)
    assert few.images_needed == pytest.approx(268, abs=1)


def test_a_better_candidate_passes_a_budget_of_nothing() -> None:
    assert judge(*predictions(5, 60, 1000, 800), max_drop=0.0).outcome == "PASS"
    assert judge(*predictions(60, 5, 1000, 800), max_drop=0.0).outcome == "FAIL"


def test_no_images_decide_nothing() -> None:
    nothing = np.zeros(0, int)
    for labels in (nothing, None):
        assert judge(nothing, nothing, labels, max_drop=0.01).outcome == "INCONCLUSIVE"


def test_that_nothing_is_lost_only_a_better_candidate_can_prove() -> None:
    found = judge(*predictions(2, 2, 500), max_drop=0.0)
    assert found.outcome == "INCONCLUSIVE"
    assert "which only a candidate that is better can prove: allow a little, such as 0.1%" in found.why
    assert "only a candidate" not in judge(*predictions(2, 2, 500), max_drop=0.001).why


def test_one_image() -> None:
    assert judge(*predictions(1, 0, 1), max_drop=0.01).outcome == "INCONCLUSIVE"
    assert judge(*predictions(0, 0, 1), max_drop=0.01).outcome == "INCONCLUSIVE"


def test_lists_will_do() -> None:
    assert judge([0, 1], [0, 1], [0, 0], max_drop=0.5).drop == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("max_drop", [-0.01, 1.0, 1.5, math.nan])
def test_a_budget_that_makes_no_sense_is_refused(max_drop: float) -> None:
    with pytest.raises(InputError) as caught:
        judge(*predictions(0, 0, 10), max_drop=max_drop)
    assert caught.value.code == "bad-budget"


def test_unpaired_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="belong together"):
        judge(np.zeros(3), np.zeros(4), None, max_drop=0.01)
    with pytest.raises(InputError, match="belong together"):
        judge(np.zeros(3), np.zeros(3), [1, 2], max_drop=0.01)


def test_without_labels_agreement_alone_can_pass_but_never_fail() -> None:
    same = np.arange(1000) % 10
    few_differ, many_differ = same.copy(), same.copy()
    few_differ[:3] = 11
    many_differ[:500] = 11
    passed = judge(same, few_differ, None, max_drop=0.01)
    assert passed.outcome == "PASS"
    assert "no labels" in passed.why
    assert passed.drop is None and passed.broke is None
    assert passed.drop_high == pytest.approx(0.00773, abs=1e-4)
    assert passed.drop_low == -passed.drop_high
    lost = judge(same, many_differ, None, max_drop=0.01)
    assert lost.outcome == "INCONCLUSIVE"
    assert lost.images_needed is None
    assert "no labels" in lost.why


# --- how many images --------------------------------------------------------------------------------------------------


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


def test_a_drop_at_the_budget_is_never_decided() -> None:
    assert proportions.images_to_decide(0.01, 0.05, 0.01) is None
    assert judge(*predictions(15, 5, 1000, 800), max_drop=0.01).images_needed is None


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


# --- suspicions -------------------------------------------------------------------------------------------------------


def test_a_healthy_pair_raises_no_suspicion() -> None:
    labels = np.arange(1000) % 10
    assert suspicions(labels, labels, labels.tolist(), num_classes=10) == ()
    assert suspicions(labels, labels, None, num_classes=10) == ()


def test_a_collapsed_candidate_is_named() -> None:
    labels = np.arange(1000) % 10
    (found,) = suspicions(labels, np.full(1000, 7), labels.tolist(), num_classes=10)
    assert "candidate" in found and "class 7" in found
    nearly = np.full(1000, 7)
    nearly[:20] = 3
    (found,) = suspicions(labels, nearly, labels.tolist(), num_classes=10)
    assert "98%" in found


def test_a_baseline_at_chance_points_at_preprocessing_and_class_map() -> None:
    rng = np.random.default_rng(0)
    labels, guesses = np.arange(1000) % 100, rng.integers(0, 100, 1000)
    (found,) = suspicions(guesses, guesses, labels.tolist(), num_classes=100)
    assert "--class-map" in found and "mean" in found


def test_images_of_one_class_may_all_get_one_answer() -> None:
    ones = np.ones(200, int)
    assert suspicions(ones, ones, ones.tolist(), num_classes=10) == ()


def test_too_few_images_to_suspect_anything_say_so() -> None:
    ones = np.ones(20, int)
    (found,) = suspicions(ones, ones, None, num_classes=10)
    assert "only 20 images" in found
    assert suspicions(np.zeros(0), np.zeros(0), None, num_classes=10) == ()
