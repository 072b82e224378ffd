from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import Event, Finished, Progress, Started, ignore
from edgecnn.formats.files import open_artifact
from edgecnn.measure.effort import PROFILES, Profile, profile_named
from edgecnn.measure.latency import Candidate, Latency, Process, compare, measure, orders, summarise

BRIEF = Profile("brief", 3, 64, 0.05, 5.0, warmup_s=0.02)
FACTS = {"usable_cores": 2, "governor": "performance", "boot_id": "a"}


def process(block: int, samples: Sequence[float], **changes: Any) -> Process:
    fields: dict[str, Any] = {"block": block, "position": 0, "samples_ns": tuple(samples), "runs_per_sample": 1}
    fields |= {"load_ns": 5, "first_ns": 7, "peak_rss_bytes": 100 + block, "peak_rss_delta_bytes": 10 + block}
    return Process(**{**fields, "steady": True, "other_load": 0.01, "facts": FACTS, **changes})


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    return Candidate("model", open_artifact(path), "onnxruntime", 1)


def latency(candidate: Candidate, medians: Sequence[float], **changes: Any) -> Latency:
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    processes = [process(block, median + noise - np.median(noise), **changes) for block, median in enumerate(medians)]
    return summarise(candidate, processes, profile=PROFILES["quick"], seed=0)


def codes(result: Latency) -> set[str]:
    return {reason.code for reason in result.reasons}


def test_few_processes_give_a_range_and_five_an_interval(candidate: Candidate) -> None:
    three, five = latency(candidate, [100, 104, 102]), latency(candidate, [100, 104, 102, 101, 103])
    assert three.times.interval == "range"
    assert (three.times.median_low_ns, three.times.median_ns, three.times.median_high_ns) == pytest.approx(
        (100, 102, 104)
    )
    assert five.times.interval == "ci95"
    assert 100 <= five.times.median_low_ns <= 102 <= five.times.median_high_ns <= 104
    assert five == latency(candidate, [100, 104, 102, 101, 103])


def test_the_p90_bound_is_the_worst_of_all_processes_or_none(candidate: Candidate) -> None:
    one, two, short = range(1, 101), range(1001, 1101), range(63)
    both = summarise(candidate, [process(0, one), process(1, two)], profile=PROFILES["quick"], seed=0)
    assert both.times.p90_bound_ns == 1098
    assert both.times.p90_ns == (90 + 1090) / 2
    assert both.memory.peak_rss_bytes == 101
    mixed = summarise(candidate, [process(0, one), process(1, short)], profile=PROFILES["quick"], seed=0)
    assert mixed.times.p90_bound_ns is None
    assert "few-samples" in codes(mixed)


def test_a_clean_measurement_is_valid(candidate: Candidate) -> None:
    clean = latency(candidate, [100, 100.1, 100.2])
    assert clean.reasons == ()
    assert clean.grade == "valid"


def test_two_speeds_and_one_process_are_told(candidate: Candidate) -> None:
    assert codes(latency(candidate, [100, 100.1, 120, 120.1, 100.2])) == {"multimodal"}
    assert codes(latency(candidate, [100])) == {"few-processes"}


def test_percentiles_bounds_and_throughput(candidate: Candidate) -> None:
    rng = np.random.default_rng(0)
    series = [(rng.permutation(1000) + 1 + shift).tolist() for shift in range(5)]
    result = summarise(
        replace(candidate, batch=4), [process(n, s) for n, s in enumerate(series)], profile=PROFILES["quick"], seed=0
    )
    assert result.samples_ns.shape == (5000,) and list(result.samples_ns[1000:2000]) == series[1]
    assert (result.times.p90_ns, result.times.p99_ns) == (902, 992)
    assert (result.times.p90_bound_ns, result.times.p99_bound_ns) == (927, 1003)
    assert 850 < result.times.p90_low_ns < 902 < result.times.p90_high_ns < 950
    assert result.times.throughput_per_s == pytest.approx(4e9 / result.times.median_ns)
    assert latency(candidate, [100, 104, 102]).times.p99_bound_ns is None
    assert (result.device, result.batch, result.times.e2e_median_ns) == ("host", 4, None)
    assert json.loads(json.dumps(result.summary()))["p99_bound_ns"] == 1003


def test_faster_needs_more_than_noise(candidate: Candidate) -> None:
    base = latency(candidate, [100, 101, 99, 100.5, 99.5])
    twice = compare(latency(candidate, [50, 50.4, 49.6, 50.2, 49.9]), base)
    assert twice.conclusion == "faster"
    assert twice.low < twice.speedup < twice.high
    assert twice.speedup == pytest.approx(2.0, abs=0.01)
    assert compare(base, latency(candidate, [50, 50.4, 49.6, 50.2, 49.9])).conclusion == "slower"
    assert compare(latency(candidate, [99.6, 100.6, 98.6, 100.1, 99.1]), base).conclusion == "no measurable difference"
    assert compare(base, base).speedup == 1.0
    assert compare(base, base).conclusion == "no measurable difference"


def test_a_sure_but_tiny_effect_is_no_difference(candidate: Candidate) -> None:
    base = latency(candidate, [100, 100, 100, 100, 100])
    ratio = compare(latency(candidate, [99.5, 99.5, 99.5, 99.5, 99.5]), base)
    assert ratio.low > 1
    assert ratio.conclusion == "no measurable difference"


def test_noise_shared_by_a_block_cancels(candidate: Candidate) -> None:
    base, candidate = latency(candidate, [100, 130, 90]), latency(candidate, [50, 65, 45])
    ratio = compare(candidate, base)
    assert (ratio.low, ratio.high) == (pytest.approx(2, abs=0.01), pytest.approx(2, abs=0.01))
    assert ratio.interval == "ci95"


def test_one_or_two_processes_cannot_tell(candidate: Candidate) -> None:
    ratio = compare(latency(candidate, [50, 51]), latency(candidate, [100, 101]))
    assert ratio.interval == "range"
    assert ratio.conclusion == "too few processes to tell"


def test_nothing_is_claimed_of_an_emulated_board(candidate: Candidate) -> None:
    real, played = latency(candidate, [100] * 5), latency(candidate, [50] * 5, facts={**FACTS, "emulated": True})
    for ratio in (compare(real, played), compare(played, real), compare(played, played)):
        assert ratio.conclusion == "emulated: no claim"
    assert played.emulated and played.grade == "invalid"


def test_nothing_is_claimed_from_an_invalid_measurement(candidate: Candidate) -> None:
    base = latency(candidate, [100, 100.1, 99.9, 100, 100])
    ruined = latency(candidate, [50, 50.1, 49.9, 50, 50], findings={"cpu-fallback": "3 layers ran on the CPU"})
    assert ruined.grade == "invalid"
    for ratio in (compare(ruined, base), compare(base, ruined)):
        assert ratio.conclusion == "invalid: no claim"


def test_arms_that_share_no_block_cannot_be_compared(candidate: Candidate) -> None:
    other = summarise(candidate, [process(9, [1.0, 2.0])], profile=PROFILES["smoke"], seed=0)
    with pytest.raises(InputError, match="same blocks"):
        compare(other, latency(candidate, [100]))


def test_profiles_are_those_of_the_method_and_wrong_names_get_a_hint() -> None:
    shapes = {name: (p.processes, p.min_iterations, p.min_s, p.max_s) for name, p in PROFILES.items()}
    assert shapes == {
        "smoke": (1, 30, 1, 20),
        "quick": (3, 100, 3, 60),
        "standard": (5, 662, 10, 120),
        "mlperf": (3, 1024, 600, 1800),
    }
    assert all(p.timeout_s > 2 * p.max_s + p.cool_s for p in PROFILES.values())
    with pytest.raises(InputError) as caught:
        profile_named("quik")
    assert "'quick'" in caught.value.hint


def test_arms_are_measured_interleaved_in_fresh_processes(make_onnx: Callable[..., Path]) -> None:
    small, large = open_artifact(make_onnx("small.onnx")), open_artifact(make_onnx("large.onnx", width=256))
    candidates = [Candidate("small", small, "onnxruntime", 1), Candidate("large", large, "onnxruntime", 1)]
    events: list[Event] = []
    results = measure(candidates, profile=BRIEF, seed=3, listener=events.append)
    assert [result.name for result in results] == ["small", "large"]
    for result in results:
        assert [p.block for p in result.processes] == [0, 1, 2]
        assert result.samples >= 3 * 64
        assert 0 < result.times.median_low_ns <= result.times.median_ns <= result.times.median_high_ns
        assert result.times.p90_ns <= (result.times.p90_bound_ns or 0)
        assert result.times.load_ns > 0 and result.times.first_ns > 0
    assert {(p.block, p.position) for r in results for p in r.processes} == {(b, p) for b in range(3) for p in range(2)}
    assert compare(results[0], results[1]).speedup > 1
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    whole = [event for event in events if isinstance(event, Progress)][-1]
    assert (whole.done, whole.total) == (6, 6)
    archive = json.loads(json.dumps(results[0].to_dict(), allow_nan=False))
    assert len(archive["processes"][2]["samples_ns"]) == len(results[0].processes[2].samples_ns)


def test_a_failing_arm_leaves_the_others_alone(make_onnx: Callable[..., Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    candidates = [
        Candidate("broken", open_artifact(broken), "onnxruntime", 1),
        Candidate("good", open_artifact(make_onnx("g.onnx")), "null", 1),
    ]
    failed: list[tuple[str, str]] = []

    def note(candidate: Candidate, error: EdgecnnError) -> None:
        failed.append((candidate.name, error.code))

    results = measure(candidates, profile=BRIEF, seed=0, listener=ignore, on_failure=note)
    assert [result.name for result in results] == ["good"]
    assert failed == [("broken", "cannot-load")]
    with pytest.raises(EdgecnnError, match=r"broken\.onnx"):
        measure(candidates[:1], profile=BRIEF, seed=0, listener=ignore)


def test_batches_and_end_to_end_beside_it(make_onnx: Callable[..., Path]) -> None:
    model = open_artifact(make_onnx("m.onnx"))
    candidates = [
        Candidate("one", model, "null", 1, {"shape": [1, 3, 64, 64]}, end_to_end=True),
        Candidate("four", model, "null", 1, {"shape": [1, 3, 64, 64]}, batch=4),
    ]
    one, four = measure(candidates, profile=BRIEF, seed=0, listener=ignore)
    assert one.times.e2e_median_ns is not None and one.times.e2e_median_ns > one.times.median_ns
    assert len(one.processes[0].e2e_ns or ()) >= 20
    assert (four.batch, four.processes[0].batch, four.times.e2e_median_ns) == (4, 4, None)
    assert four.times.throughput_per_s == pytest.approx(4e9 / four.times.median_ns)
    assert one.device == "host"
    assert one.processes[0].telemetry.period_s == 1.0


def test_a_fixed_batch_other_than_asked_is_an_error(make_onnx: Callable[..., Path]) -> None:
    candidate = Candidate("m", open_artifact(make_onnx("m.onnx")), "onnxruntime", 1, batch=8)
    with pytest.raises(EdgecnnError) as caught:
        measure([candidate], profile=BRIEF, seed=0, listener=ignore)
    assert caught.value.code == "fixed-batch"


def test_every_second_block_turns_the_order_round() -> None:
    found = list(orders(4, 5, seed=1))
    assert all(sorted(order) == [0, 1, 2, 3] for order in found)
    assert found[1] == found[0][::-1] and found[3] == found[2][::-1]
    assert found == list(orders(4, 5, seed=1)) != list(orders(4, 5, seed=2))


class Scripted:
    """A device that answers with one result, and remembers what it was asked."""

    name, local = "board", False

    def __init__(self, **changes: Any) -> None:
        self.jobs: list[dict[str, Any]] = []
        self._result: dict[str, Any] = {"runs_per_sample": 1, "load_ns": 5, "first_ns": 7, "steady": True, "batch": 1}
        self._result |= {"facts": dict(FACTS), "other_load": 0.0, **changes}

    def run(self, job: Any, *, outputs: Any, **rest: Any) -> dict[str, Any]:
        self.jobs.append(dict(job))
        np.save(outputs["output"], np.full(100, 1000, np.int64))
        return dict(self._result)


def test_a_board_is_given_its_rails_and_time_to_cool(candidate: Candidate) -> None:
    board = Scripted(telemetry={"before": {"temperature_c": 44.0}})
    patient = replace(BRIEF, processes=2, cool_s=30.0)
    fields = {"rails": {"total": "VDD_IN"}, "estimated_power": {"slope": 1.5, "offset_w": 0.5}}
    (result,) = measure(
        [candidate], profile=patient, seed=0, listener=ignore, device=board, expect=profile_of(**fields)
    )
    assert [job["cool_to_c"] for job in board.jobs] == [None, 47.0]
    assert board.jobs[1]["cool_max_s"] == 30.0
    assert board.jobs[0]["rails"] == {
        "total": "VDD_IN",
        "sum": [],
        "estimate": {"slope": 1.5, "offset_w": 0.5},
    }
    assert (result.device, result.conditions.temperature_c) == ("board", (44.0, 44.0))
    measure([candidate], profile=BRIEF, seed=0, listener=ignore, device=board)
    assert board.jobs[-1]["cool_to_c"] is None, "a profile that does not wait"


def test_readings_are_held_against_the_profile_of_the_machine_they_are_from(candidate: Candidate) -> None:
    expect = profile_of(throttle=["vcgencmd"])
    (there,) = measure([candidate], profile=BRIEF, seed=0, listener=ignore, device=Scripted(), expect=expect)
    assert "throttle-unread" in codes(there)
    here = Candidate("m", candidate.artifact, "null", 1)
    (host,) = measure([here], profile=BRIEF, seed=0, listener=ignore, expect=expect)
    assert "throttle-unread" not in codes(host)


@pytest.mark.parametrize(
    "changes",
    [
        {"runs_per_sample": 0},
        {"runs_per_sample": "1"},
        {"load_ns": -5},
        {"first_ns": float("nan")},
        {"load_ns": 1 << 70},
        {"facts": None},
        {"facts": [1, 2]},
        {"batch": True},
        {"peak_rss_bytes": "much"},
        {"findings": "all"},
    ],
)
def test_a_result_that_makes_no_sense_is_refused(candidate: Candidate, changes: dict[str, Any]) -> None:
    with pytest.raises(EdgecnnError) as caught:
        measure([candidate], profile=BRIEF, seed=0, listener=ignore, device=Scripted(**changes))
    assert caught.value.code == "bad-result"


def test_facts_of_the_wrong_type_are_not_judged_by(candidate: Candidate) -> None:
    odd = {"usable_cores": "many", "governor": ["a"], "boot_id": {}, "emulated": "no", "cpu": "x"}
    (result,) = measure([candidate], profile=BRIEF, seed=0, listener=ignore, device=Scripted(facts=odd))
    assert codes(result) == {"clocks-unread"}
    assert result.processes[0].facts["cpu"] == "x" and not result.emulated


def profile_of(**fields: Any) -> DeviceProfile:
    deployment = {"format": "onnx", "backend": "onnxruntime", "family": "onnxruntime"}
    return DeviceProfile.model_validate({"name": "b", "title": "B", "deployments": [deployment], **fields})


def test_two_arms_of_one_name_are_refused(candidate: Candidate) -> None:
    with pytest.raises(InputError, match="model"):
        measure([candidate, candidate], profile=BRIEF, seed=0, listener=ignore)
