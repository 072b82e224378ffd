"""Estimate of a quantization range: from a histogram to the range worth 256 codes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgecnn.quantize import ranges
from edgecnn.quantize.histogram import Histogram
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import Grid, Range

Loss = Callable[[Histogram, Grid], float]

CANDIDATES = 100
SMALLEST_SHARE = 0.2


def estimate(found: Histogram, options: QuantizeOptions, *, symmetric: bool) -> Range:
    """The range by `options.observer`; never wider than what was seen."""
    seen = Range(found.low, found.high)
    if not (math.isfinite(seen.low) and math.isfinite(seen.high)):
        return seen
    if options.observer == "minmax" or found.counts.sum() == 0:
        return seen
    if options.observer == "percentile":
        return percentile(found, options.percentile)
    if options.observer == "mse":
        return _least(found, mean_squared_error, symmetric=symmetric)
    return _least(found, kl_divergence, symmetric=symmetric)


def percentile(found: Histogram, percent: float) -> Range:
    """The `percent`-th percentile and its mirror, to a bin's width, within the extrema."""
    share = np.cumsum(found.counts) / found.counts.sum()
    tail = 1.0 - percent / 100.0
    last = min(int(np.searchsorted(share, 1.0 - tail)), len(share) - 1)
    first = min(int(np.searchsorted(share, tail, side="right")), last)
    edges = found.centers()
    half = found.width / 2
    return Range(max(found.low, float(edges[first]) - half), min(found.high, float(edges[last]) + half))


def _least(found: Histogram, loss: Loss, *, symmetric: bool) -> Range:
    """Shrink the top, then the bottom (together when symmetric), to where `loss` on the resulting grid is least.

    Coordinate search over a grid of `CANDIDATES` shares: for a fixed other end the losses here have one valley in
    practice.
    """
    shares = np.linspace(1.0, SMALLEST_SHARE, CANDIDATES)
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if symmetric:
        bound = max(-low, high)
        best = min((share * bound for share in shares), key=lambda end: loss(found, ranges.symmetric(Range(-end, end))))
        return Range(max(low, -best), min(high, best))

    def lost(low: float, high: float) -> float:
        return loss(found, ranges.asymmetric(Range(low, high), signed=False))

    high = min((share * high for share in shares), key=lambda end: lost(low, end)) if high > 0 else high
    low = min((share * low for share in shares), key=lambda end: lost(end, high)) if low < 0 else low
    return Range(low, high)


def mean_squared_error(found: Histogram, grid: Grid) -> float:
    """Rounding and clipping error of `grid`, in squared units, times the count; a bin's own width adds rounding too."""
    centers = found.centers()
    codes = np.clip(np.rint(centers / grid.scale) + grid.zero_point, grid.low_code, grid.high_code)
    return float(np.dot(found.counts, ((codes - grid.zero_point) * grid.scale - centers) ** 2))


def kl_divergence(found: Histogram, grid: Grid) -> float:
    """Information lost when the kept part, with the outliers moved to its edges, is told in the codes of `grid`.

    S. Migacz, "8-bit Inference with TensorRT", GTC 2017: P is the clipped histogram with the tails added to the
    edge bins, Q the same without the tails, each code's mass spread evenly over its non-empty bins. Unlike there,
    the bins at zero and at both ends are codes of their own: the masses that ReLU and ReLU6 pile up there are exact
    on the grid, and spread over their neighbours they would drown everything else and shrink the range to nothing.
    """
    codes = np.rint(found.centers() / grid.scale).astype(np.int64) + (grid.zero_point - grid.low_code)
    inside = np.flatnonzero((codes >= 0) & (codes <= grid.high_code - grid.low_code))
    if len(inside) < 2:
        return math.inf
    first, last = inside[0], inside[-1]
    held = found.counts[first : last + 1].astype(np.float64)
    reference = held.copy()
    reference[0] += found.counts[:first].sum()
    reference[-1] += found.counts[last + 1 :].sum()
    spread = _spread(held, _with_exact(codes[first : last + 1], zero=-found.first - int(first)))
    if spread.sum() == 0:
        return math.inf
    p, q = reference / reference.sum(), spread / spread.sum()
    # An outlier moved into an empty edge bin is mass that Q cannot tell: count it against a floor, do not let it
    # vanish.
    q = np.maximum(q, 1e-9)
    told = p > 0
    return float(np.sum(p[told] * np.log(p[told] / q[told])))


def _with_exact(codes: np.ndarray, *, zero: int) -> np.ndarray:
    """`codes` (not negative) with new ones for the first bin, the last one and the one that holds zero."""
    own: np.ndarray = codes.copy()
    for place in {0, len(codes) - 1} | ({zero} if 0 <= zero < len(codes) else set()):
        own[place] = own.max() + 1
    return own


def _spread(held: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Each code's mass, even over its non-empty bins."""
    filled = held > 0
    mass, bins = np.bincount(codes, weights=held), np.bincount(codes, weights=filled)
    evened: np.ndarray = np.where(filled, mass[codes] / np.maximum(bins[codes], 1), 0.0)
    return evened
