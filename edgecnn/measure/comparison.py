"""Comparison of two latencies: whether one candidate is faster than another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecnn.core.errors import InputError
from edgecnn.measure.summary import Interval, Latency
from edgecnn.statistics import samples

CLAIM_LEVEL = 0.98
"""Of the interval that must exclude 1 before a difference is claimed. Two files that are the same are told apart in 2
of 100 comparisons where processes vary normally; where they fall into two speeds, in 3 of 100 with three blocks."""
LEAST_EFFECT = 0.01
"""A smaller difference is not worth a claim, however sure it is."""
NO_CLAIM = "emulated: no claim"
NOT_VALID = "invalid: no claim"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Baseline time over candidate time, so above 1 the candidate is faster; `interval` as in `Latency`."""

    speedup: float
    low: float
    high: float
    interval: Interval
    blocks: int
    conclusion: str


def compare(candidate: Latency, baseline: Latency) -> Ratio:
    """How much faster the candidate is, from the ratio within each block they shared.

    The mean of the log ratios with Student's 95 % interval (three blocks or more), else the range. "faster" or
    "slower" needs an effect of at least 1 % and a 98 % interval without 1: noise that a block shares cancels, and the
    rest is in the interval. Nothing is claimed of an emulated board, nor from a measurement that is graded invalid.
    """
    before = {process.block: process.median_ns for process in baseline.processes}
    logs = [math.log(before[p.block] / p.median_ns) for p in candidate.processes if p.block in before]
    if not logs:
        raise InputError(
            "not-interleaved", f"'{candidate.name}' and '{baseline.name}' were not measured in the same blocks"
        )
    centre = float(np.mean(logs))
    enough = len(logs) >= 3
    low, high = samples.mean_interval(logs) if enough else (min(logs), max(logs))
    return Ratio(
        math.exp(centre),
        math.exp(low),
        math.exp(high),
        "ci95" if enough else "range",
        len(logs),
        _refusal(candidate, baseline) or conclusion(logs),
    )


def _refusal(*both: Latency) -> str:
    """Why nothing may be claimed, whatever the samples say; empty when something may."""
    if any(latency.emulated for latency in both):
        return NO_CLAIM
    return NOT_VALID if any(latency.grade == "invalid" for latency in both) else ""


def conclusion(logs: list[float]) -> str:
    """What log ratios of blocks, baseline over candidate, allow to say of the candidate."""
    if len(logs) < 3:
        return "too few processes to tell"
    low, high = samples.mean_interval(logs, level=CLAIM_LEVEL)
    centre = float(np.mean(logs))
    if (low > 0 or high < 0) and abs(centre) >= math.log1p(LEAST_EFFECT):
        return "faster" if centre > 0 else "slower"
    return "no measurable difference"
