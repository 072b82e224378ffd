"""From a histogram to the range worth 256 codes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgecnn.quantize.histogram import Histogram
from edgecnn.quantize.ranges import Range
from edgecnn.quantize.stage import Quantize

Loss = Callable[[np.ndarray, np.ndarray, Range], float]

CANDIDATES = 100
SMALLEST_SHARE = 0.2


def estimate(found: Histogram, options: Quantize, *, symmetric: bool) -> Range:
    """The range by `options.observer`; never wider than what was seen."""
    seen = Range(found.low, found.high)
    if not (math.isfinite(seen.low) and math.isfinite(seen.high)):
        return seen
    if options.observer == "minmax" or found.counts.sum() == 0:
        return seen
    if options.observer == "percentile":
        return percentile(found, options.percentile)
    if options.observer == "mse":
        return _least(found, found.counts, mean_squared_error, symmetric=symmetric)
    return _least(found, _without_zeros(found), kl_divergence, symmetric=symmetric)


def percentile(found: Histogram, percent: float) -> Range:
    """The `percent`-th percentile and its mirror, to a bin's width, within the extrema."""
    share = np.cumsum(found.counts) / found.counts.sum()
    tail = 1.0 - percent / 100.0
    last = min(int(np.searchsorted(share, 1.0 - tail)), len(share) - 1)
    first = min(int(np.searchsorted(share, tail, side="right")), last)
    edges = found.centers()
    half = found.width / 2
    return Range(max(found.low, float(edges[first]) - half), min(found.high, float(edges[last]) + half))


def _without_zeros(found: Histogram) -> np.ndarray:
    """Counts with the bin at zero levelled to its neighbours: zero is exact on every grid, and the mass a ReLU
    piles up there would drown everything else."""
    counts: np.ndarray = found.counts.copy()
    at = -found.first
    if 0 <= at < len(counts):
        beside = counts[[index for index in (at - 1, at + 1) if 0 <= index < len(counts)]]
        counts[at] = min(counts[at], int(beside.max(initial=0)))
    return counts


def _least(found: Histogram, counted: np.ndarray, loss: Loss, *, symmetric: bool) -> Range:
    """Shrink the top, then the bottom (together when symmetric), to where `loss` is least.

    Coordinate search over a grid of `CANDIDATES` shares: for a fixed other end the losses here have one valley in
    practice.
    """
    centers, counts = found.centers(), counted.astype(np.float64)
    shares = np.linspace(SMALLEST_SHARE, 1.0, CANDIDATES)
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if symmetric:
        bound = max(-low, high)
        best = min((share * bound for share in shares), key=lambda end: loss(centers, counts, Range(-end, end)))
        return Range(max(found.low, -best), min(found.high, best))
    if high > 0:
        high = min((share * high for share in shares), key=lambda end: loss(centers, counts, Range(low, end)))
    if low < 0:
        low = min((share * low for share in shares), key=lambda end: loss(centers, counts, Range(end, high)))
    return Range(max(found.low, low), min(found.high, high))


def mean_squared_error(centers: np.ndarray, counts: np.ndarray, kept: Range) -> float:
    """Rounding and clipping error of 256 codes over `kept`, in squared units; a bin's own width adds rounding too."""
    scale = max(kept.high - kept.low, 1e-12) / 255.0
    codes = np.clip(np.rint((centers - kept.low) / scale), 0, 255)
    return float(np.dot(counts, (codes * scale + kept.low - centers) ** 2))


def kl_divergence(centers: np.ndarray, counts: np.ndarray, kept: Range) -> float:
    """Information lost when the kept part, with the outliers moved to its edges, is told in 256 levels.

    S. Migacz, "8-bit Inference with TensorRT", GTC 2017: P is the clipped histogram with the tails added to the
    edge bins, Q the same without the tails, its levels spread evenly over their non-empty bins. Infinite where Q
    misses mass of P.
    """
    inside = (centers >= kept.low) & (centers <= kept.high)
    if np.count_nonzero(inside) < 2:
        return math.inf
    where = np.flatnonzero(inside)
    held = counts[where]
    reference = held.copy()
    reference[0] += counts[: where[0]].sum()
    reference[-1] += counts[where[-1] + 1 :].sum()
    levels = np.minimum(np.arange(len(held)) * 256 // len(held), 255)
    filled = held > 0
    mass = np.bincount(levels, weights=held, minlength=256)
    bins = np.bincount(levels, weights=filled.astype(np.float64), minlength=256)
    spread = np.where(filled, mass[levels] / np.maximum(bins[levels], 1), 0.0)
    if spread.sum() == 0:
        return math.inf
    p, q = reference / reference.sum(), spread / spread.sum()
    # An outlier moved into an empty edge bin is mass that Q cannot tell: count it against a floor, do not let it
    # vanish.
    q = np.maximum(q, 1e-9)
    told = p > 0
    return float(np.sum(p[told] * np.log(p[told] / q[told])))
