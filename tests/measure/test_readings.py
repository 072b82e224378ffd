"""What a board's sensors said: checked when it arrives, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.core.artifact import Artifact
from edgecnn.measure.effort import PROFILES
from edgecnn.measure.latency import Candidate, Latency, Process, summarise
from edgecnn.measure.telemetry import Telemetry
from edgecnn.measure.wire.fields import LONGEST_LIST

ARM = Candidate("m", Artifact(Path("m.onnx"), "onnx", "fp32", (), (), ""), "onnxruntime", 1)


def summary(*told: dict[str, Any], batch: int = 1) -> Latency:
    fields: dict[str, Any] = {"position": 0, "samples_ns": (2e6,) * 100, "runs_per_sample": 1, "load_ns": 1}
    fields |= {"first_ns": 1, "peak_rss_bytes": None, "peak_rss_delta_bytes": None, "steady": True}
    processes = [
        Process(block=block, other_load=0.0, facts={}, telemetry=Telemetry.parse(one), **fields)
        for block, one in enumerate(told)
    ]
    candidate = Candidate("m", ARM.artifact, "onnxruntime", 1, batch=batch)
    return summarise(candidate, processes, profile=PROFILES["quick"], seed=0)


def powered(count: int, watts: float, source: str = "measured") -> dict[str, Any]:
    return {"samples": [{"power_w": watts, "power_source": source}] * count}


def test_energy_is_mean_power_times_the_time_of_an_image() -> None:
    result = summary(powered(10, 4.0), powered(10, 6.0))
    assert (result.energy.power_w, result.energy.power_source) == (5.0, "measured")
    assert result.energy.energy_mj == pytest.approx(10.0), "5 W for 2 ms"
    assert summary(powered(20, 5.0), batch=4).energy.energy_mj == pytest.approx(2.5)
    assert summary(powered(20, 5.0, "estimated")).energy.power_source == "estimated"


@pytest.mark.parametrize(
    "told",
    [
        [powered(19, 5.0)],
        [powered(10, 5.0), powered(10, 5.0, "estimated")],
        [{"samples": [{"cpu_mhz": 1.0}] * 40}],
        [{"before": {"power_w": 5.0}, "after": {"power_w": 5.0}}],
    ],
    ids=["too few", "two kinds", "no power", "outside the clock"],
)
def test_there_is_no_energy_without_enough_readings_of_one_kind(told: list[dict[str, Any]]) -> None:
    result = summary(*told)
    assert (result.energy.energy_mj, result.energy.power_w, result.energy.power_source) == (None, None, "")


def test_temperature_clock_and_memory_of_all_processes() -> None:
    first = {
        "before": {"temperature_c": 40.0, "memory_available_bytes": 1000},
        "samples": [{"temperature_c": 55.0, "cpu_mhz": 2000.0, "memory_available_bytes": 700}],
        "after": {"temperature_c": 61.0},
    }
    second = {"before": {"temperature_c": 45.0}, "samples": [{"cpu_mhz": 2400.0}]}
    result = summary(first, second)
    assert (result.conditions.temperature_c, result.conditions.cpu_mhz, result.memory.memory_drop_bytes) == (
        (40.0, 61.0),
        2200.0,
        300,
    )
    nothing = summary({})
    assert (nothing.conditions.temperature_c, nothing.conditions.cpu_mhz, nothing.memory.memory_drop_bytes) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize("told", [None, 3, "x", [], {"before": 7, "samples": "x", "sources": {}, "period_s": "1"}])
def test_what_is_no_telemetry_was_not_read(told: object) -> None:
    assert Telemetry.parse(told) == Telemetry()


def test_readings_of_the_wrong_type_or_size_were_not_read() -> None:
    reading = {
        **{"temperature_c": "hot", "cpu_mhz": float("nan"), "gpu_mhz": float("inf"), "power_w": True, "t_s": 1.5},
        **{"throttled": -1, "oc_counts": {"oc1": "x", "oc2": 2}, "rails_w": [1], "clocks_locked": 1, "other": 1},
        **{"power_mode": "15W\x1b[31m\n" + "x" * 500, "boot_id": 7, "memory_available_bytes": 10**30},
    }
    (found,) = Telemetry.parse({"samples": [reading]}).samples
    assert found.keys() == {"t_s", "oc_counts", "power_mode"}
    assert found["oc_counts"] == {"oc2": 2}
    assert found["power_mode"].startswith("15W xx") and len(found["power_mode"]) <= 300


def test_a_flood_of_readings_is_cut() -> None:
    told = {"samples": [{"t_s": 1}] * (LONGEST_LIST + 5), "sources": ["s"] * 5000, "troubles": {"a\n": "b\x07"}}
    parsed = Telemetry.parse(told)
    assert (len(parsed.samples), len(parsed.sources), parsed.troubles) == (LONGEST_LIST, LONGEST_LIST, {"a": "b"})
