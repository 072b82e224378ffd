from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from edgecnn.probe import loop
from edgecnn.probe.backends import null
from edgecnn.probe.specs import InputSpec, random_feeds

RING = [{"x": np.full(1, i, np.float32)} for i in range(8)]


def quick_warmup(**changes: float) -> loop.Warmup:
    return loop.Warmup(**{"min_runs": 10, "min_s": 0.0, "max_s": 0.2, "max_runs": 50, "limit_s": 1.0, **changes})  # type: ignore[arg-type]


def test_windows_that_look_alike_are_steady() -> None:
    window = [100, 101, 99, 100, 102, 98, 100, 101, 99, 100] * 2
    assert loop.is_steady(window, window)
    assert loop.is_steady([100] * 20, [100] * 20)


@pytest.mark.parametrize(
    "later",
    [
        [150] * 20,
        [80, 81, 79, 80, 82, 78, 80, 81, 79, 80] * 2,
        [300, 101, 99, 100, 102, 98, 100, 101, 99, 100, 100, 101, 99, 100, 102, 98, 100, 101, 99, 100],
        [100, 130, 70, 100, 120, 80, 100, 110, 90, 100] * 2,
    ],
    ids=["slower", "still getting faster", "outlier at the border", "noisier"],
)
def test_windows_that_differ_are_not_steady(later: list[int]) -> None:
    assert not loop.is_steady([100, 101, 99, 100, 102, 98, 100, 101, 99, 100] * 2, later)


def test_warm_up_runs_at_least_as_often_and_as_long_as_asked() -> None:
    calls = []
    begin = time.perf_counter()
    warm = loop.warm_up(lambda feeds: calls.append(feeds) or [], RING, quick_warmup(min_s=0.05))  # type: ignore[func-returns-value]
    assert warm.runs == len(calls) >= 10
    assert time.perf_counter() - begin >= 0.05


def test_a_model_that_gets_slower_and_slower_is_capped_and_flagged() -> None:
    waits = iter(np.arange(1, 10_000) * 1e-4)
    warm = loop.warm_up(lambda feeds: time.sleep(next(waits)) or [], RING, quick_warmup())  # type: ignore[func-returns-value]
    assert not warm.steady
    assert warm.runs >= 50


def test_a_very_slow_model_stops_at_the_limit() -> None:
    warm = loop.warm_up(lambda feeds: time.sleep(0.05) or [], RING, quick_warmup(limit_s=0.2))  # type: ignore[func-returns-value]
    assert not warm.steady
    assert warm.runs < 10


def test_measuring_takes_enough_samples_for_long_enough_and_no_longer() -> None:
    def nap(feeds: object) -> list[np.ndarray]:
        time.sleep(0.001)
        return []

    samples = loop.measure(nap, RING, loop.Measurement(20, 0.0, 5.0), 1)
    assert len(samples.total_ns) == 20
    assert samples.total_ns.dtype == np.int64
    assert samples.total_ns.min() >= 1_000_000
    assert len(loop.measure(nap, RING, loop.Measurement(5, 0.05, 5.0), 1).total_ns) >= 20
    assert len(loop.measure(nap, RING, loop.Measurement(10_000, 0.0, 0.05), 1).total_ns) < 100


def test_inputs_take_turns_also_within_a_sample_of_several_runs() -> None:
    seen: list[float] = []
    loop.measure(lambda feeds: seen.append(float(feeds["x"][0])) or [], RING, loop.Measurement(8, 0.0, 1.0), 3)  # type: ignore[func-returns-value]
    assert seen == [float(i % 8) for i in range(24)]


def test_garbage_is_not_collected_while_the_clock_runs() -> None:
    states = []
    loop.measure(lambda feeds: states.append(gc.isenabled()) or [], RING, loop.Measurement(3, 0.0, 1.0), 1)  # type: ignore[func-returns-value]
    assert states == [False] * 3
    assert gc.isenabled()


def test_more_samples_than_room_are_all_kept() -> None:
    samples = loop.measure(lambda feeds: [], RING, loop.Measurement(9000, 0.0, 5.0), 1)
    assert len(samples.total_ns) == 9000


def test_short_runs_share_a_sample() -> None:
    assert loop.runs_per_sample(49_999) == 2
    assert loop.runs_per_sample(50_000) == 1
    assert loop.runs_per_sample(1e9) == 1
    assert loop.runs_per_sample(100) == 500


@pytest.mark.parametrize("runs", [1, 100])
def test_the_harness_costs_less_than_5_us_per_inference(runs: int) -> None:
    session = null.load("", {})
    ring = random_feeds(session.inputs, 8, 0)
    samples = loop.measure(session.infer, ring, loop.Measurement(2000, 0.0, 5.0), runs)
    assert np.median(samples.total_ns) / runs < 5_000


def test_buffers_are_distinct_and_seeded() -> None:
    specs = [InputSpec("x", ("n", 3, 4, 4), "float32", "NCHW"), InputSpec("q", (1, 4), "int8", None)]
    ring = random_feeds(specs, 8, seed=5)
    assert len({feeds["x"].tobytes() for feeds in ring}) == 8
    assert ring[0]["x"].shape == (1, 3, 4, 4)
    assert ring[0]["q"].dtype == np.int8
    np.testing.assert_array_equal(ring[3]["x"], random_feeds(specs, 8, seed=5)[3]["x"])
