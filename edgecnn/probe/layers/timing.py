"""Timing that every profiler shares: whole runs, how many of them, and the middle of many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..events import Events

FEWEST_RUNS = 3
WARM_S = 0.3
BLOCK = 5
NAME_CHARS = 400


class TimingPlan(NamedTuple):
    """At most `runs` profiled runs and about `max_s` for all of them; `folder` is for the runtime's files."""

    runs: int
    max_s: float
    seed: int
    folder: str
    events: Events


class Profiled(NamedTuple):
    """What a profiler found.

    `layers` in the order of execution; `whole_ns` are runs without the profiler, `profiled_ns` runs with it as this
    process saw them, `sums_ns` the layers of each of these together. `graph` is the file the runtime made of the model.
    """

    method: str
    runtime: str
    resolution_ns: int
    layers: list[dict[str, Any]]
    whole_ns: list[int]
    profiled_ns: list[int]
    sums_ns: list[int]
    graph: str | None = None


def warm(run: Callable[[], Any]) -> int:
    """Run a few times and for a while; ns of the last run."""
    begin, runs, last = perf_counter_ns(), 0, 0
    while runs < FEWEST_RUNS or perf_counter_ns() - begin < WARM_S * 1e9:
        last = timed(run)
        runs += 1
        if perf_counter_ns() - begin > 20 * WARM_S * 1e9:
            break
    return last


def timed(run: Callable[[], Any]) -> int:
    start = perf_counter_ns()
    run()
    return perf_counter_ns() - start


def runs_within(plan: TimingPlan, run_ns: int) -> int:
    """How many runs the plan allows; half of its time is for runs without the profiler."""
    return max(FEWEST_RUNS, min(plan.runs, int(plan.max_s / 2 * 1e9 / max(run_ns, 1))))


class Interleaved(NamedTuple):
    """ns of runs without and with the profiler; `kept` tells which of all runs with it those are, the first ones of
    each block and the warm-up left out."""

    plain_ns: list[int]
    profiled_ns: list[int]
    kept: list[bool]


def interleaved(plain: Callable[[], Any], profiled: Callable[[], int], plan: TimingPlan) -> Interleaved:
    """Runs without and with the profiler in turn, in blocks; `profiled` says itself how long its run took.

    In blocks, so that what else runs there falls on both. Not run by run, for the threads of one session go on
    spinning for a while after it has answered; the first run of a block is not counted.
    """
    runs = runs_within(plan, warm(plain))
    warming = [profiled() for _ in range(FEWEST_RUNS)]
    taken = Interleaved([], [], [False] * len(warming))
    while len(taken.profiled_ns) < runs:
        block = min(BLOCK, runs - len(taken.profiled_ns))
        plan.events.send("phase", name=f"profiling, run {len(taken.profiled_ns) + 1} of {runs}")
        plain()
        taken.plain_ns.extend(timed(plain) for _ in range(block))
        profiled()
        taken.profiled_ns.extend(profiled() for _ in range(block))
        taken.kept.extend([False] + [True] * block)
    return taken


def middle(times_ns: Sequence[int]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(np.asarray(times_ns, float), [25, 50, 75])
    return {"median_ns": float(median), "q1_ns": float(low), "q3_ns": float(high)}


def short(text: Any) -> str:
    return str(text)[:NAME_CHARS]
