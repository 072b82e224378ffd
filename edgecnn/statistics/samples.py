"""Statistics of samples: percentiles, intervals, drift. Every value keeps the unit it came in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.99
"""Of the early-stopping bound, as in MLPerf LoadGen."""
TREND_POINTS = 300
"""Theil-Sen looks at all pairs, so a long series is thinned to medians of neighbours first."""

INNER, INNER_SAMPLES = 200, 4000
"""Replicates within one process, and how many samples each draws at most."""


def nearest_rank(samples: ArrayLike, percentile: float) -> float:
    """The smallest sample that at least `percentile` (in (0, 100]) of all samples do not exceed; no interpolation."""
    ordered = np.sort(np.asarray(samples, float))
    # 1e-9 keeps 0.9 * 10 = 9.000000000000002 from becoming rank 10.
    rank = max(1, math.ceil(percentile / 100 * len(ordered) - 1e-9))
    return float(ordered[rank - 1])


def early_stopping_discard(count: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """The largest t with P(Binom(count, 1 - p) <= t) <= 1 - confidence; 0 or less when there are too few samples.

    Source: MLPerf LoadGen, early_stopping.cc, with tolerance d = 0.
    """
    from scipy.stats import binom

    tail = 1 - percentile / 100
    t = int(binom.ppf(1 - confidence, count, tail))
    while t >= 0 and binom.cdf(t, count, tail) > 1 - confidence:
        t -= 1
    return t


def early_stopping_bound(samples: ArrayLike, percentile: float, confidence: float = CONFIDENCE) -> float | None:
    """A distribution-free upper confidence bound of a percentile, or None: p90 needs 64 samples, p99 needs 662.

    Discards the t - 1 highest samples and takes the largest that is left (see `early_stopping_discard`). Assumes
    independent samples; those of one process are not quite that, so report the worst bound over several processes.
    """
    ordered = np.sort(np.asarray(samples, float))
    t = early_stopping_discard(len(ordered), percentile, confidence)
    return float(ordered[len(ordered) - t]) if t >= 1 else None


def bootstrap_median(
    values: ArrayLike, *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile-bootstrap interval of the median (Efron and Tibshirani 1993, ch. 13); seeded."""
    observed = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(observed, (resamples, len(observed))), axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_percentile(
    series: Sequence[ArrayLike], percentile: float, *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the median over processes of a nearest-rank percentile: a nested bootstrap, seeded.

    Processes are drawn with replacement, and within each, blocks of about the square root of its length, for
    neighbours are not independent (Kalibera and Jones 2013; Künsch 1989).
    """
    rng = np.random.default_rng(seed)
    inner = np.array([_block_percentiles(np.asarray(samples, float), percentile, rng) for samples in series])
    chosen = rng.integers(0, len(inner), (resamples, len(inner)))
    replicate = rng.integers(0, inner.shape[1], (resamples, len(inner)))
    medians = np.median(inner[chosen, replicate], axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _block_percentiles(
    samples: NDArray[np.float64], percentile: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`INNER` replicates of a percentile by the moving-block bootstrap; of a long series, at `INNER_SAMPLES` of its
    length."""
    length = max(1, round(math.sqrt(len(samples))))
    blocks = max(1, math.ceil(min(len(samples), INNER_SAMPLES) / length))
    rank = max(1, math.ceil(percentile / 100 * blocks * length - 1e-9)) - 1
    starts = rng.integers(0, len(samples) - length + 1, (INNER, blocks))
    drawn = samples[(starts[:, :, None] + np.arange(length)).reshape(INNER, -1)]
    quantiles: NDArray[np.float64] = np.partition(drawn, rank, axis=1)[:, rank]
    return quantiles


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; needs two values."""
    from scipy.stats import sem, t

    observed = np.asarray(values, float)
    if np.ptp(observed) == 0:  # scipy has no interval of width 0
        return float(observed[0]), float(observed[0])
    low, high = t.interval(level, len(observed) - 1, loc=observed.mean(), scale=sem(observed))
    return float(low), float(high)


def outliers(samples: ArrayLike, *, limit: float = 10.0) -> int:
    """How many samples have a modified Z-score above `limit` (Iglewicz and Hoaglin 1993; hyperfine's limit)."""
    values = np.asarray(samples, float)
    centre = np.median(values)
    distance = np.abs(values - centre)
    spread = 1.4826 * np.median(distance)
    return (
        int(np.count_nonzero(distance > limit * spread))
        if spread > 0
        else int(np.count_nonzero(distance > 0.5 * centre))
    )


def drift(samples: ArrayLike) -> float:
    """Relative change of the level from the first sample to the last, 0 where there is no clear trend.

    A trend is clear when the Theil-Sen slope over the whole series exceeds 2 % of the median and Spearman's |rho|
    exceeds 0.3, or when the medians of the first and last third differ by more than 3 %.
    """
    values = np.asarray(samples, float)
    if len(values) < 9:
        return 0.0
    from scipy.stats import spearmanr, theilslopes

    centre = float(np.median(values))
    third = len(values) // 3
    step = (float(np.median(values[-third:])) - float(np.median(values[:third]))) / centre
    thin = _thinned(values)
    change = float(theilslopes(thin)[0]) * (len(thin) - 1) / centre
    if abs(change) > 0.02 and np.ptp(values) > 0 and abs(float(spearmanr(np.arange(len(values)), values)[0])) > 0.3:
        return change
    return step if abs(step) > 0.03 else 0.0


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= TREND_POINTS:
        return values
    return np.array([np.median(part) for part in np.array_split(values, TREND_POINTS)])


def two_levels(medians: Sequence[float], *, gap: float = 0.05) -> bool:
    """Whether process medians fall into two groups more than `gap` apart, each at least three times tighter than
    that."""
    ordered = np.sort(np.asarray(medians, float))
    if len(ordered) < 3:
        return False
    cut = int(np.argmax(np.diff(ordered))) + 1
    below, above = ordered[:cut], ordered[cut:]
    apart = float(above.mean() - below.mean())
    return apart > gap * float(np.median(ordered)) and max(np.ptp(below), np.ptp(above)) * 3 <= apart
