"""The growing histogram: exact counts, whatever comes, in whatever order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgecnn.quantize.histogram import MAX_BINS, Histogram


def filled(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def edges(found: Histogram) -> np.ndarray:
    return (found.first + np.arange(len(found.counts) + 1)) * found.width


def samples() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "normal": random.standard_normal((4, 3, 50, 50)),
        "relu": np.maximum(random.standard_normal(20_000), 0.0),
        "negative": -random.random(5_000) - 3.0,
        "far from zero": random.random(5_000) + 1e4,
        "heavy tail": random.standard_cauchy(20_000),
        "zeros": np.zeros(100),
        "constant": np.full(100, -2.5),
        "tiny": random.standard_normal(1000) * 1e-30,
        "denormal": np.full(10, 1e-42),
        "huge": random.standard_normal(1000) * 1e37,
        "one": np.array(3.0),
    }


@pytest.mark.parametrize("values", [pytest.param(v.astype(np.float32), id=k) for k, v in samples().items()])
def test_counts_are_those_of_numpy(values: np.ndarray) -> None:
    found = filled(values)
    # numpy closes the last bin on the right: one more bin keeps all of ours half-open.
    expected, _ = np.histogram(values.astype(np.float64), np.append(edges(found), edges(found)[-1] + found.width))
    assert found.counts.tolist() == expected[:-1].tolist()
    assert (found.low, found.high) == (float(values.min()), float(values.max()))
    assert len(found.counts) <= MAX_BINS


def test_counts_stay_exact_while_the_range_grows() -> None:
    random = np.random.default_rng(1)
    parts = [(random.standard_normal(2000) * 4.0**step).astype(np.float32) for step in range(-6, 7)]
    found = filled(*parts)
    every = np.concatenate(parts).astype(np.float64)
    expected, _ = np.histogram(every, np.append(edges(found), edges(found)[-1] + found.width))
    assert found.counts.tolist() == expected[:-1].tolist()
    assert found.counts.sum() == every.size


def test_any_order_gives_the_same_counts_at_the_same_width() -> None:
    random = np.random.default_rng(2)
    parts = [
        (random.standard_normal(500) * scale + shift).astype(np.float32) for scale, shift in ((1, 0), (9, 3), (0.1, -7))
    ]
    results = [filled(*order) for order in itertools.permutations(parts)]
    widest = max(result.width for result in results)
    assert widest <= 2 * min(result.width for result in results)
    tables = []
    for result in results:
        while result.width < widest:
            result._halve()
        where = {result.first + index: int(count) for index, count in enumerate(result.counts) if count}
        tables.append((result.low, result.high, where))
    assert all(table == tables[0] for table in tables)


def test_bins_are_aligned_at_zero() -> None:
    found = filled(np.array([-1.0, -1e-9, 0.0, 1e-9, 2.0], dtype=np.float32))
    assert 0.0 in edges(found)
    assert found.counts[-found.first] == 2, "zero and what is just above it"
    assert found.counts[-found.first - 1] == 1


def test_resolution_is_at_least_half_of_the_bins() -> None:
    found = filled(np.linspace(-1, 3, 10_000, dtype=np.float32))
    assert len(found.counts) > MAX_BINS / 2 - 2


def test_memory_stays_flat_however_far_the_values_spread() -> None:
    found = filled(*(np.array([-(10.0**power), 10.0**power], dtype=np.float32) for power in range(-20, 30)))
    assert len(found.counts) <= MAX_BINS
    assert found.counts.sum() == 100


def test_large_arrays_are_counted_whole() -> None:
    values = np.random.default_rng(3).standard_normal((1 << 20) + 17).astype(np.float32)
    whole = filled(values)
    halves = filled(values[: 1 << 19], values[1 << 19 :])
    assert whole.counts.sum() == halves.counts.sum() == values.size
    assert whole.counts.tolist() == np.histogram(values, edges(whole))[0].tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows_for_good(bad: float) -> None:
    found = filled(np.ones(4, np.float32), np.array([0.0, bad], np.float32), np.ones(4, np.float32))
    assert not math.isfinite(found.low)
    assert not math.isfinite(found.high)


def test_saved_and_restored_it_goes_on_alike() -> None:
    random = np.random.default_rng(4)
    first, second = (random.standard_normal(3000).astype(np.float32) * scale for scale in (1, 50))
    straight = filled(first, second)
    half = filled(first)
    resumed = Histogram.restore(half.counts, np.array(half.facts()))
    resumed.add(second)
    assert resumed.facts() == straight.facts()
    assert resumed.counts.tolist() == straight.counts.tolist()


def test_an_untouched_one_survives_saving() -> None:
    empty = Histogram()
    restored = Histogram.restore(empty.counts, np.array(empty.facts()))
    restored.add(np.ones(3, np.float32))
    assert restored.counts.sum() == 3
