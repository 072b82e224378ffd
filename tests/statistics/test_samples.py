from __future__ import annotations

import numpy as np
import pytest

from edgecnn.statistics import samples


@pytest.mark.parametrize(
    ("percentile", "count", "discarded"),
    [
        # MLPerf LoadGen's early-stopping table at 99 %, and a published log of 944,092 queries.
        (90, 63, 0),
        (90, 64, 1),
        (90, 100, 3),
        (90, 200, 10),
        (90, 500, 34),
        (90, 1_000, 78),
        (90, 2_000, 168),
        (90, 10_000, 930),
        (90, 944_092, 93_731),
        (99, 661, 0),
        (99, 662, 1),
        (99, 1_000, 2),
        (99, 2_000, 9),
        (99, 10_000, 77),
        (50, 10, 0),
        (50, 11, 1),
        (95, 129, 0),
        (95, 130, 1),
        (99.9, 6_635, 0),
        (99.9, 6_636, 1),
    ],
)
def test_early_stopping_discards_as_many_as_loadgen(percentile: float, count: int, discarded: int) -> None:
    assert samples.early_stopping_discard(count, percentile) == discarded


@pytest.mark.parametrize(
    ("percentile", "count", "rank"),
    [
        (90, 64, 64),
        (90, 100, 98),
        (90, 200, 191),
        (90, 500, 467),
        (90, 1000, 923),
        (90, 2000, 1833),
        (90, 10000, 9071),
        (99, 662, 662),
        (99, 1000, 999),
        (99, 2000, 1992),
        (99, 10000, 9924),
    ],
)
def test_the_bound_is_the_published_order_statistic(percentile: float, count: int, rank: int) -> None:
    shuffled = np.random.default_rng(0).permutation(count) + 1
    assert samples.early_stopping_bound(shuffled, percentile) == rank


@pytest.mark.parametrize(("percentile", "fewest"), [(50, 8), (90, 46), (95, 93), (99, 473), (99.9, 4742)])
def test_less_confidence_needs_fewer_samples(percentile: float, fewest: int) -> None:
    assert samples.early_stopping_discard(fewest, percentile, 0.95) == 1
    assert samples.early_stopping_discard(fewest - 1, percentile, 0.95) == 0


def test_too_few_samples_have_no_bound() -> None:
    assert samples.early_stopping_bound(range(63), 90) is None
    assert samples.early_stopping_bound(range(661), 99) is None
    assert samples.early_stopping_bound([1.0], 90) is None


def test_the_bound_holds_in_99_of_100_experiments() -> None:
    draws = np.random.default_rng(7).exponential(size=(1000, 200))
    truth = -np.log(0.1)
    missed = sum(samples.early_stopping_bound(draw, 90) < truth for draw in draws)  # type: ignore[operator]
    assert missed <= 20


@pytest.mark.parametrize(
    ("count", "percentile", "rank"),
    [(10, 90, 9), (100, 90, 90), (1, 90, 1), (3, 50, 2), (4, 50, 2), (662, 99, 656), (7, 100, 7)],
)
def test_nearest_rank_does_not_interpolate(count: int, percentile: float, rank: int) -> None:
    assert samples.nearest_rank(np.arange(count)[::-1] + 1, percentile) == rank


def test_bootstrap_brackets_the_median_and_repeats_with_its_seed() -> None:
    values = [10.0, 11.0, 12.0, 13.0, 30.0]
    low, high = samples.bootstrap_median(values, seed=1)
    assert 10.0 <= low < 12.0 < high <= 30.0
    assert samples.bootstrap_median(values, seed=1) == (low, high)
    assert samples.bootstrap_median([5.0] * 5, seed=1) == (5.0, 5.0)


def test_t_interval_matches_the_textbook() -> None:
    # t(0.975, 4) = 2.776; sd of 1..5 is 1.5811.
    low, high = samples.mean_interval([1, 2, 3, 4, 5])
    assert (low, high) == (pytest.approx(3 - 2.776 * 1.5811 / 5**0.5, abs=1e-3), pytest.approx(3 + 1.963, abs=1e-3))


def test_outliers_are_counted_by_modified_z() -> None:
    noise = np.random.default_rng(0).normal(100, 1, 500)
    assert samples.outliers(noise) == 0
    assert samples.outliers([*noise, 150.0, 300.0]) == 2
    assert samples.outliers([100.0] * 50 + [101.0]) == 0
    assert samples.outliers([100.0] * 50 + [200.0]) == 1


def test_drift_needs_size_and_direction() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 2000)
    ramp = np.linspace(0, 1, 2000)
    assert samples.drift(100 + noise) == 0
    assert samples.drift(100 + 10 * ramp + noise) == pytest.approx(0.095, abs=0.02)
    assert samples.drift(100 - 10 * ramp + noise) < -0.07
    assert samples.drift(100 + 0.5 * ramp + noise) == 0
    assert samples.drift(np.where(ramp < 0.5, 100, 105) + noise) > 0.03
    assert samples.drift([100.0] * 50) == 0
    assert samples.drift([1.0, 9.0]) == 0


def test_two_speeds_are_told_from_one_noisy_one() -> None:
    assert samples.two_levels([100, 101, 120, 121, 100])
    assert not samples.two_levels([100, 101, 102, 103, 104])
    assert not samples.two_levels([100, 105, 110, 115, 120])
    assert not samples.two_levels([100, 200])


def test_the_nested_bootstrap_of_a_percentile_covers_processes_and_samples() -> None:
    rng = np.random.default_rng(3)
    same = [rng.exponential(size=2000) for _ in range(5)]
    low, high = samples.bootstrap_percentile(same, 90, seed=1)
    assert low < -np.log(0.1) < high and high - low < 0.4
    assert samples.bootstrap_percentile(same, 90, seed=1) == (low, high)
    apart = [times * (1 + 0.1 * index) for index, times in enumerate(same)]
    wide_low, wide_high = samples.bootstrap_percentile(apart, 90, seed=1)
    assert wide_high - wide_low > 2 * (high - low), "processes that differ make it wide"
    assert samples.bootstrap_percentile([[5.0] * 70] * 5, 90, seed=1) == (5.0, 5.0)
    assert samples.bootstrap_percentile([[7.0], [7.0]], 90, seed=1) == (7.0, 7.0)


def test_the_nested_bootstrap_holds_what_it_promises() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(60):
        level = rng.normal(100, 2, 9)
        series = [rng.normal(mean, 1, 200) for mean in level]
        low, high = samples.bootstrap_percentile(series, 90, seed=1, resamples=500)
        held += low <= 100 + 1.2816 <= high
    assert held >= 0.85 * 60
