"""Measurement loop: warm-up, the two-window steadiness test and the timed runs.

Adapters never see a clock. Times are nanoseconds of `perf_counter_ns` around whole calls of `infer`.
"""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    Feeds = dict[str, np.ndarray]
    Infer = Callable[[Feeds], list[np.ndarray]]

WINDOW = 20
SHORTEST_WINDOW = 5
SAMPLE_NS = 50_000
"""A sample shorter than this is mostly timer and interpreter, so several runs share one."""


class Warmup(NamedTuple):
    """At least `min_runs` and `min_s`; then until steady, but no longer than `max_s` and `max_runs`, nor `limit_s`."""

    min_runs: int
    min_s: float
    max_s: float
    max_runs: int
    limit_s: float


class Measurement(NamedTuple):
    """At least `min_iterations` samples and `min_s`, at most `max_s`."""

    min_iterations: int
    min_s: float
    max_s: float


class Warm(NamedTuple):
    median_ns: float
    runs: int
    steady: bool


class Samples(NamedTuple):
    """`total_ns` (int64) of each sample; a sample is `runs_per_sample` runs."""

    total_ns: np.ndarray
    runs_per_sample: int


def warm_up(infer: Infer, ring: Sequence[Feeds], plan: Warmup) -> Warm:
    """Run until two consecutive windows look alike, or the caps are hit; then `steady` is False."""
    recent: deque[int] = deque(maxlen=2 * WINDOW)
    window, runs, begin = WINDOW, 0, perf_counter_ns()
    while True:
        feeds = ring[runs % len(ring)]
        start = perf_counter_ns()
        infer(feeds)
        end = perf_counter_ns()
        recent.append(end - start)
        runs += 1
        elapsed_s = (end - begin) / 1e9
        if runs == plan.min_runs:
            window = _window(float(np.median(recent)))
        enough = runs >= max(plan.min_runs, 2 * window) and elapsed_s >= plan.min_s
        if enough and runs % max(1, window // 2) == 0:
            times = list(recent)
            if is_steady(times[-2 * window : -window], times[-window:]):
                return Warm(float(np.median(times[-window:])), runs, True)
        if (elapsed_s >= plan.max_s and runs >= plan.max_runs) or elapsed_s >= plan.limit_s:
            return Warm(float(np.median(list(recent)[-window:])), runs, False)


def _window(median_ns: float) -> int:
    """20 runs, or as many as fit in half a second."""
    return min(WINDOW, max(SHORTEST_WINDOW, int(0.5e9 / max(median_ns, 1.0))))


def is_steady(earlier: Sequence[int], later: Sequence[int]) -> bool:
    """pyperf's two-window test: no outlier at the border, mean within -50 % to +10 %, MAD within 10 %, quartiles
    within 5 %."""
    one, two = np.asarray(earlier, float), np.asarray(later, float)
    q1_one, median_one, q3_one = np.percentile(one, [25, 50, 75])
    q1_two, median_two, q3_two = np.percentile(two, [25, 50, 75])
    if two[0] > q3_one + 1.5 * (q3_one - q1_one):
        return False
    if not -0.5 <= _change(one.mean(), two.mean()) <= 0.1:
        return False
    mad_one, mad_two = np.median(np.abs(one - median_one)), np.median(np.abs(two - median_two))
    if abs(_change(mad_one, mad_two)) > 0.1:
        return False
    return abs(_change(q1_one, q1_two)) <= 0.05 and abs(_change(q3_one, q3_two)) <= 0.05


def _change(before: float, after: float) -> float:
    if after == 0:
        return 0.0 if before == 0 else math.inf
    return float((before - after) / after)


def runs_per_sample(median_ns: float) -> int:
    """How many runs share one sample so that it lasts 50 us or more."""
    return max(1, math.ceil(SAMPLE_NS / max(median_ns, 1.0)))


def measure(infer: Infer, ring: Sequence[Feeds], plan: Measurement, runs: int) -> Samples:
    """Take samples of `runs` runs each, inputs rotating; garbage collection is off meanwhile."""
    batches = [[ring[(i * runs + j) % len(ring)] for j in range(runs)] for i in range(len(ring))]
    min_ns, max_ns = int(plan.min_s * 1e9), int(plan.max_s * 1e9)
    samples = np.zeros(max(plan.min_iterations, 4096), np.int64)
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        taken, begin = 0, perf_counter_ns()
        while True:
            batch = batches[taken % len(batches)]
            start = perf_counter_ns()
            for feeds in batch:
                infer(feeds)
            end = perf_counter_ns()
            if taken == len(samples):
                samples = np.concatenate([samples, np.zeros_like(samples)])
            samples[taken] = end - start
            taken += 1
            elapsed = end - begin
            if (taken >= plan.min_iterations and elapsed >= min_ns) or elapsed >= max_ns:
                return Samples(samples[:taken].copy(), runs)
    finally:
        if enabled:
            gc.enable()


def timed(call: Callable[[], Any]) -> tuple[Any, int]:
    """The call's result and its duration in ns."""
    start = perf_counter_ns()
    result = call()
    return result, perf_counter_ns() - start
