"""The agent as a board has it: the archive in its folder, a request on stdin, lines on stdout."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.measure.probe_archive import archive_bytes
from edgecnn.probe import files, system
from edgecnn.probe.jobs import JobFolder

JOB = "0123abcd"
PLAN = {
    "warmup": {"min_runs": 5, "min_s": 0.0, "max_s": 0.05, "max_runs": 5, "limit_s": 1.0},
    "measure": {"min_iterations": 5, "min_s": 0.0, "max_s": 1.0},
}
LATENCY = {"verb": "latency", "backend": "null", "model": "", "sensors": False, **PLAN}
LIMITS = {"timeout_s": 20, "lock_wait_s": 0, "abandon_s": 20, "client": "ann@laptop"}
Agent = Callable[..., "list[dict[str, Any]]"]


def pythons() -> list[str]:
    """This Python, and the oldest that the probe supports, where there is one."""
    pyenv = Path.home() / ".pyenv" / "versions"
    old = [path for path in [*pyenv.glob("3.8.*/bin/python3"), shutil.which("python3.8")] if path]
    works = [
        str(path) for path in old if subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0
    ]
    return [sys.executable, *works[:1]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = archive_bytes()
    probe = tmp_path / "agent" / "probe"
    probe.mkdir(parents=True)
    (probe / f"{hashlib.sha256(content).hexdigest()}.pyz").write_bytes(content)
    return probe.parent


@pytest.fixture
def agent(folder: Path) -> Agent:
    """`agent(verb="start", ...)`: the lines of one call."""

    def ask(*, python: str = sys.executable, **request: Any) -> list[dict[str, Any]]:
        (archive,) = (folder / "probe").iterdir()
        done = subprocess.run(
            [python, "-E", "-B", str(archive)],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == b""
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask


@pytest.fixture
def start(agent: Agent) -> Agent:
    def begin(**other: Any) -> list[dict[str, Any]]:
        fields = {"verb": "start", "id": JOB, "job": LATENCY, "files": {}, "outputs": ["output"], **LIMITS}
        return agent(**{**fields, **other})

    return begin


def described(content: bytes, suffix: str = ".onnx") -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "suffix": suffix}


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("python", pythons())
def test_a_missing_file_is_asked_for_and_the_job_then_run(
    python: str, start: Agent, agent: Agent, folder: Path
) -> None:
    content = os.urandom(1000)
    model = described(content)
    job = {**LATENCY, "verb": "facts", "backend": "null"}
    (asked,) = start(python=python, files={"model": model}, job=job, outputs=[])
    assert (asked["event"], asked["state"], asked["fields"]) == ("result", "missing", ["model"])
    (folder / "files" / f"{model['sha256']}.onnx.{JOB}.part").write_bytes(content)
    lines = start(python=python, files={"model": model}, job=job, outputs=[])
    assert [path.name for path in (folder / "files").iterdir()] == [f"{model['sha256']}.onnx"]
    assert lines[0]["event"] == "attached" and lines[0]["boot_id"] == system.boot_id()
    if lines[-1]["event"] == "error":  # an old Python here has no numpy, and says so
        assert python != sys.executable
        assert lines[-1]["code"] == "missing-runtime"
    else:
        assert lines[-1]["result"]["facts"]["runtime"] == "1"
    assert agent(verb="status", id=JOB, python=python)[-1]["state"] == "done"


def test_a_file_that_an_earlier_start_took_meanwhile_is_there(tmp_path: Path) -> None:
    """Its connection broke while it read the file; the one that came back reads it too."""
    content = os.urandom(3 << 20)
    wanted = files.RequestedFile(hashlib.sha256(content).hexdigest(), len(content), ".onnx")
    (tmp_path / "files").mkdir()
    arrived, place = (tmp_path / "files" / f"{wanted.name}{end}" for end in (f".{JOB}.part", ""))
    arrived.write_bytes(content)
    blocks = iter(range(99))

    def beat() -> None:
        if next(blocks) == 1:
            arrived.rename(place)

    assert files.Files(str(tmp_path), beat).receive(wanted, JOB)
    assert place.read_bytes() == content


def test_events_are_numbered_and_come_again_on_request(start: Agent, agent: Agent) -> None:
    lines = start(inline_bytes=100_000)
    events = [line for line in lines if "seq" in line and "state" not in line]
    assert [event["seq"] for event in events] == [0, 1, 2]
    assert [event.get("name", event["event"]) for event in events] == ["started", "warm-up", "measuring"]
    assert all(event["boot_id"] == system.boot_id() for event in events)
    times = [event["t_ns"] for event in events]
    assert times == sorted(times)
    again = agent(verb="follow", id=JOB, after=1, inline_bytes=100_000)
    assert [line["seq"] for line in again if "t_ns" in line] == [2]
    assert again[-1]["result"] == lines[-1]["result"]
    array = np.load(io.BytesIO(base64.b64decode(again[-1]["outputs"]["output"]["base64"])))
    assert len(array) == lines[-1]["result"]["samples"]


def test_a_second_start_of_the_same_job_follows_it(start: Agent, folder: Path) -> None:
    first, second = start(), start()
    assert first[-1]["result"] == second[-1]["result"]
    assert len(list((folder / "jobs").iterdir())) == 1


def test_big_arrays_stay_in_their_file(start: Agent, folder: Path) -> None:
    told = start(inline_bytes=10)[-1]["outputs"]["output"]
    assert "base64" not in told
    assert (folder / "jobs" / JOB / "output.npy").stat().st_size == told["bytes"]


def test_nothing_is_kept_that_another_could_read(start: Agent, folder: Path) -> None:
    start()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "jobs").rglob("*"))
    assert not (folder / "jobs" / JOB / "reserve").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "../../etc"},
        {"id": "ABCD1234"},
        {"id": 7},
        {"files": {"model": {"sha256": "../x", "bytes": 1, "suffix": ""}}},
        {"files": {"model": {**described(b""), "suffix": "/../x"}}},
        {"files": {"model": {**described(b""), "bytes": -1}}},
        {"files": {"../model": described(b"")}},
        {"files": {"model": "x"}},
        {"outputs": ["../../x"]},
        {"outputs": [7]},
        {"timeout_s": "long"},
        {"job": []},
    ],
)
def test_a_bad_request_leaves_no_job(wrong: dict[str, Any], start: Agent, folder: Path) -> None:
    last = start(**wrong)[-1]
    assert (last["event"], last["code"]) == ("error", "bad-job")
    assert not (folder / "jobs").exists() or not list((folder / "jobs").iterdir())


def test_a_job_that_is_not_known(agent: Agent) -> None:
    attached, last = agent(verb="follow", id=JOB)
    assert attached["boot_id"] == system.boot_id()
    assert last["code"] == "unknown-job"
    assert agent(verb="status", id=JOB)[-1]["state"] == "unknown"
    assert agent(verb="cancel", id=JOB)[-1]["state"] == "unknown"


def test_an_agent_elsewhere_or_damaged_does_nothing(folder: Path, tmp_path: Path, agent: Agent) -> None:
    (archive,) = (folder / "probe").iterdir()
    elsewhere = tmp_path / "probe.pyz"
    shutil.copy(archive, elsewhere)
    done = subprocess.run(
        [sys.executable, str(elsewhere)], input=b'{"verb": "clean"}', capture_output=True, check=False
    )
    assert json.loads(done.stdout)["code"] == "bad-job"
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert agent(verb="clean")[-1]["code"] == "damaged-probe"


def test_a_cancelled_job_says_so(start: Agent, agent: Agent, folder: Path) -> None:
    """While it waits for its turn, too."""
    folder.joinpath("jobs").mkdir()
    endless = {"warmup": {**PLAN["warmup"], "min_s": 60.0, "max_s": 60.0, "limit_s": 60.0}}
    (archive,) = (folder / "probe").iterdir()
    running = []
    for name in (JOB, JOB + "01"):
        request = {"verb": "start", "id": name, "job": {**LATENCY, **endless}, "files": {}, "outputs": ["output"]}
        process = subprocess.Popen(
            [sys.executable, "-E", "-B", str(archive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**request, **LIMITS, "lock_wait_s": 30}).encode())
        process.stdin.close()
        running.append(process)
        wait_for((folder / "jobs" / name / "events.jsonl").exists)
    holder = agent(verb="status")[-1]["holder"]
    assert (holder["host"], holder["job"]) == ("ann@laptop", JOB)
    for name in (JOB + "01", JOB):
        assert agent(verb="cancel", id=name)[-1]["state"] == "done"
    for process in running:
        with process:
            assert process.stdout is not None
            assert json.loads(process.stdout.read().splitlines()[-1])["code"] == "cancelled"
    assert agent(verb="status")[-1]["holder"] is None


def test_a_killed_supervisor_takes_its_worker_along_and_is_told(start: Agent, agent: Agent, folder: Path) -> None:
    endless = {"warmup": {**PLAN["warmup"], "min_s": 60.0, "max_s": 60.0, "limit_s": 60.0}}
    (archive,) = (folder / "probe").iterdir()
    process = subprocess.Popen(
        [sys.executable, "-E", "-B", str(archive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        fields = {"verb": "start", "id": JOB, "job": {**LATENCY, **endless}, "files": {}, "outputs": ["output"]}
        process.stdin.write(json.dumps({**fields, **LIMITS}).encode())
        process.stdin.close()
        json.loads(process.stdout.readline())
        started = json.loads(process.stdout.readline())
        adjusted = Path(f"/proc/{started['pid']}/oom_score_adj").read_text().strip()
        assert adjusted == "500"
        os.kill(int((folder / "jobs" / JOB / "alive").read_text()), signal.SIGKILL)
        assert json.loads(process.stdout.read().splitlines()[-1])["code"] == "probe-killed"
    wait_for(lambda: not Path(f"/proc/{started['pid']}").exists())
    assert agent(verb="status", id=JOB)[-1]["state"] == "lost"


def test_a_job_of_an_earlier_boot_is_told_as_that(start: Agent, agent: Agent, folder: Path) -> None:
    start()
    job = folder / "jobs" / JOB
    (job / "job.json").write_text(json.dumps({**json.loads((job / "job.json").read_text()), "boot_id": "before"}))
    assert agent(verb="follow", id=JOB)[-1]["state"] == "done"  # it had ended
    (job / "result.json").unlink()
    last = agent(verb="follow", id=JOB)[-1]
    assert last["code"] == "board-rebooted"
    assert "before" in last["why"]


def test_the_environment_of_the_worker_has_no_opinion_on_threads(
    start: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("HELLO", "x")
    endless = {"warmup": {**PLAN["warmup"], "min_s": 0.5, "max_s": 0.5, "limit_s": 0.5}}
    (archive,) = (folder / "probe").iterdir()
    with subprocess.Popen([sys.executable, str(archive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        fields = {"verb": "start", "id": JOB, "job": {**LATENCY, **endless}, "files": {}, "outputs": ["output"]}
        process.stdin.write(json.dumps({**fields, **LIMITS}).encode())
        process.stdin.close()
        process.stdout.readline()
        pid = json.loads(process.stdout.readline())["pid"]
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        process.stdout.read()
    assert b"HELLO=x" in environment
    assert not any(word.startswith(b"OMP_") for word in environment)


def test_done_jobs_go_and_living_ones_stay(start: Agent, agent: Agent, folder: Path) -> None:
    start()
    start(id="aaaaaaaa", done=[JOB])
    assert [path.name for path in (folder / "jobs").iterdir()] == ["aaaaaaaa"]
    alive = JobFolder(str(folder), "bbbbbbbb")
    held = alive.create({"files": {}})
    agent(verb="clean", done=["aaaaaaaa", "bbbbbbbb"])
    assert [path.name for path in (folder / "jobs").iterdir()] == ["bbbbbbbb"]
    os.close(held)
    agent(verb="clean", done=["bbbbbbbb"])
    assert not list((folder / "jobs").iterdir())


def test_what_is_old_goes_and_what_is_read_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    week, day = time.time() - 8 * 86400, time.time() - 2 * 86400
    for name in ("files", "jobs", "cache"):
        (folder / name).mkdir()
    for name, used in (("a", week), ("b", week), ("c", day), ("d.part", day), ("e", time.time())):
        (folder / "files" / name).write_bytes(bytes(100))
        os.utime(folder / "files" / name, (used, used))
    (folder / "cache" / "engine").mkdir()
    (folder / "cache" / "engine" / "x").write_bytes(bytes(1000))
    os.utime(folder / "cache" / "engine", (day, day))
    old, living = JobFolder(str(folder), "aaaaaaaa"), JobFolder(str(folder), "bbbbbbbb")
    os.close(old.create({"files": {}}))
    os.utime(old.path, (week, week))
    held = living.create({"files": {"model": "files/b"}})
    files.clean(str(folder))
    assert sorted(path.name for path in (folder / "files").iterdir()) == ["b", "c", "e"]
    assert not old.exists() and living.exists()
    monkeypatch.setattr(files, "LARGEST_STORE", 150)  # too much: the oldest first, and nothing of the last hour
    files.clean(str(folder))
    assert sorted(path.name for path in (folder / "files").iterdir()) == ["b", "e"]
    assert not list((folder / "cache").iterdir())
    os.close(held)


def test_kills_for_want_of_memory_are_counted_where_the_kernel_does(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "user" / "session").mkdir(parents=True)
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 3\n")
    (proc / "self" / "cgroup").write_text("4:memory:/old\n0::/user/session\n")
    (cgroups / "user" / "session" / "memory.events").write_text("low 0\noom 9\noom_kill 2\noom_group_kill 1\n")
    assert system.out_of_memory_kills(str(proc), str(cgroups)) == 5
    assert system.out_of_memory_kills(str(tmp_path), str(tmp_path)) == 0
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   1234 kB\n")
    assert system.memory_available_bytes(str(proc)) == 1234 * 1024
    assert system.memory_available_bytes(str(tmp_path)) is None
