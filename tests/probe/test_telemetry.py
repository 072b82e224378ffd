"""The process that reads sensors beside a measurement."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecnn.measure.probe_archive import probe_archive
from edgecnn.probe import telemetry
from edgecnn.probe.telemetry import Recorder

linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs the sensors of Linux")


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.05)


@pytest.fixture
def recorder(tmp_path: Path, brisk: None) -> Iterator[Recorder]:
    with Recorder(str(tmp_path / "samples.npy"), rails={}, longest_s=1.0, on=True) as made:
        yield made


@linux
def test_readings_come_beside_the_work_and_those_of_the_window_are_kept(recorder: Recorder, tmp_path: Path) -> None:
    recorder.start(threads=1)
    recorder.wait()
    before, begin_s = recorder.snapshot(), time.monotonic()
    time.sleep(0.3)
    end_s = time.monotonic()
    recorder.stop()
    report = recorder.report(before, recorder.snapshot(), (begin_s, end_s))
    assert 2 <= len(report["samples"]) <= 7
    assert all(0 <= sample["t_s"] <= 0.31 for sample in report["samples"])
    assert report["samples"][-1]["memory_available_bytes"] > 0
    assert report["before"]["boot_id"] == report["after"]["boot_id"]
    assert report["sources"] == ["linux"] and report["troubles"] == {}
    json.dumps(report, allow_nan=False)


@linux
def test_the_process_is_polite_and_gone_afterwards(recorder: Recorder, tmp_path: Path) -> None:
    recorder.start(threads=1)
    recorder.wait()
    child = recorder._child
    assert child is not None
    stat = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(stat[16]) == 10, "nice"
    usable = os.sched_getaffinity(0)
    assert os.sched_getaffinity(child.pid) == ({max(usable)} if len(usable) > 1 else usable)
    recorder.__exit__()
    assert child.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_a_workload_on_every_core_leaves_none_to_spare() -> None:
    assert telemetry._spare_core(10_000) is None


def test_switched_off_it_starts_and_says_nothing(tmp_path: Path) -> None:
    with Recorder(str(tmp_path / "o.npy"), rails={}, longest_s=1.0, on=False) as recorder:
        recorder.start(threads=1)
        recorder.wait()
        assert recorder._child is None
        assert recorder.cool_down(-300.0, 5.0) == 0.0
        assert recorder.report(recorder.snapshot(), {}, (0.0, 1.0)) is None


@linux
def test_a_folder_that_cannot_be_written_costs_the_readings_only(tmp_path: Path, brisk: None) -> None:
    with Recorder(str(tmp_path / "no" / "o.npy"), rails={}, longest_s=1.0, on=True) as recorder:
        recorder.start(threads=1)
        recorder.wait()
        recorder.stop()
        report = recorder.report({}, {}, (0.0, time.monotonic()))
    assert report["samples"] == []
    assert "did not start" in report["troubles"]["telemetry"]


def test_a_long_measurement_is_read_less_often(tmp_path: Path) -> None:
    assert Recorder(str(tmp_path / "o"), rails={}, longest_s=120.0, on=False)._period_s == 1.0
    assert Recorder(str(tmp_path / "o"), rails={}, longest_s=1800.0, on=False)._period_s == 3.0


@linux
def test_a_torn_line_and_one_without_a_time_are_skipped(recorder: Recorder) -> None:
    lines = ['{"at_s": 5.0, "cpu_mhz": 9, "troubles": {"tegrastats": "it ended"}}', "7", "{}", '{"at_s": 6.0, "cpu']
    Path(recorder._path).write_text("\n".join(lines))
    assert recorder.readings(4.0, 7.0) == [{"cpu_mhz": 9, "t_s": 1.0}]
    assert recorder.report({}, {}, (4.0, 7.0))["troubles"] == {"tegrastats": "it ended"}


def test_cooling_ends_when_cool_or_when_time_is_up(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([{"temperature_c": 70.0}, {"temperature_c": 60.0}, {"temperature_c": 49.0}])
    monkeypatch.setattr(recorder._sensors, "sample", lambda: next(readings))
    assert 0.1 <= recorder.cool_down(50.0, 5.0) < 2.0
    monkeypatch.setattr(recorder._sensors, "sample", lambda: {"temperature_c": 70.0})
    assert 0.1 <= recorder.cool_down(50.0, 0.1) < 1.0
    monkeypatch.setattr(recorder._sensors, "sample", dict)
    assert recorder.cool_down(50.0, 5.0) < 0.5


def follow(path: Path, parent: int, **fields: Any) -> subprocess.Popen[bytes]:
    job = {"verb": "telemetry", "output": str(path), "period_s": 0.05, "parent": parent, **fields}
    argv = [sys.executable, "-I", "-S", "-B", str(probe_archive())]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(json.dumps(job).encode())
    return process


@linux
def test_it_ends_when_its_parent_is_another(tmp_path: Path) -> None:
    process = follow(tmp_path / "readings", parent=1)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert [json.loads(line)["event"] for line in stdout] == ["ready", "result"]
    assert process.wait(10) == 0
    assert (tmp_path / "readings").read_text() == ""


@linux
def test_it_dies_with_the_measurement(tmp_path: Path) -> None:
    output = tmp_path / "samples.npy"
    job = {"verb": "latency", "backend": "null", "model": "", "output": str(output)}
    job |= {"warmup": {"min_runs": 1, "min_s": 0, "max_s": 0, "max_runs": 1, "limit_s": 1}}
    job |= {"measure": {"min_iterations": 1, "min_s": 60, "max_s": 60}}
    process = subprocess.Popen(
        [sys.executable, "-B", str(probe_archive())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as stdin:
        stdin.write(json.dumps(job).encode())
    while json.loads(process.stdout.readline()).get("name") != "measuring":
        pass
    (sampler,) = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    until(lambda: is_gone(sampler))


@linux
def test_it_loads_no_numpy_and_ends_its_own_children(tmp_path: Path) -> None:
    process = follow(tmp_path / "readings", parent=os.getpid())
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "ready"
    assert "numpy" not in Path(f"/proc/{process.pid}/maps").read_text()
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Also when nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)
