"""A histogram that grows with what it sees, in constant memory."""

from __future__ import annotations

import math

import numpy as np

MAX_BINS = 4096
FINEST = 2.0**-30
_CHUNK = 1 << 20


class Histogram:
    """Counts of float values in equal bins aligned at zero.

    When a value falls outside `MAX_BINS` bins, the bin width doubles and neighbours merge: counts stay exact, and
    the result does not depend on what order the values came in beyond the final width. Bin `i` covers `[(first + i)
    * width, ... + width)`.
    """

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.width = 0.0
        self.first = 0
        self.counts = np.zeros(0, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count every element. NaN and infinity make `low` and `high` non-finite and are otherwise not counted."""
        flat = values.reshape(-1)
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            self.low = self.high = math.nan
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._make_room(low, high)
        for start in range(0, flat.size, _CHUNK):
            bins = np.floor(flat[start : start + _CHUNK] * (1.0 / self.width)).astype(np.int32)
            bins -= self.first
            np.clip(bins, 0, len(self.counts) - 1, out=bins)
            self.counts += np.bincount(bins, minlength=len(self.counts))

    def _make_room(self, low: float, high: float) -> None:
        if self.width == 0.0:
            spread = max(high, 0.0) - min(low, 0.0)
            self.width = max(2.0 ** math.floor(math.log2(spread / (MAX_BINS / 2))), FINEST) if spread > 0 else FINEST
        first, last = self._bin(low), self._bin(high)
        if len(self.counts):
            first, last = min(first, self.first), max(last, self.first + len(self.counts) - 1)
        while last - first + 1 > MAX_BINS:
            self._halve()
            first, last = first >> 1, last >> 1
        grown = np.zeros(last - first + 1, dtype=np.int64)
        if len(self.counts):
            start = self.first - first
            grown[start : start + len(self.counts)] = self.counts
        self.counts, self.first = grown, first

    def _halve(self) -> None:
        self.width *= 2
        if len(self.counts):
            lead = self.first & 1
            padded = np.zeros(lead + len(self.counts) + ((lead + len(self.counts)) & 1), dtype=np.int64)
            padded[lead : lead + len(self.counts)] = self.counts
            self.counts = padded.reshape(-1, 2).sum(axis=1)
            self.first >>= 1

    def _bin(self, value: float) -> int:
        return math.floor(value / self.width)

    def centers(self) -> np.ndarray:
        """Middle of each bin, float64, in the tensor's units."""
        middles: np.ndarray = (self.first + np.arange(len(self.counts)) + 0.5) * self.width
        return middles

    def facts(self) -> tuple[float, float, float, float]:
        return self.low, self.high, self.width, float(self.first)

    @classmethod
    def restore(cls, counts: np.ndarray, facts: np.ndarray) -> Histogram:
        found = cls()
        found.low, found.high, found.width = (float(value) for value in facts[:3])
        found.first = int(facts[3])
        found.counts = counts.astype(np.int64)
        return found
