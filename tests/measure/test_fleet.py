"""Several devices in one call: each its own candidates, failures apart, interruptions everywhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.device import Connect, Deployment, DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError
from edgecnn.core.events import Event, Progress, ignore
from edgecnn.formats.files import open_artifact
from edgecnn.measure import fleet
from edgecnn.measure.candidates import batches_of, open_models, planner, runtime_of
from edgecnn.measure.connection import Connection
from edgecnn.measure.device import ThisMachine
from edgecnn.measure.effort import Profile
from edgecnn.measure.fleet import DeviceResult, measure_fleet
from edgecnn.measure.latency import Candidate, measure

BRIEF = Profile("brief", 2, 32, 0.01, 5.0, warmup_s=0.01)
ONNX = Deployment(format="onnx", backend="onnxruntime", family="onnxruntime")
TENSORRT = Deployment(format="tensorrt", backend="tensorrt", family="tensorrt")
TFLITE = Deployment(format="tflite", backend="tflite", family="litert")


def board(name: str, *deployments: Deployment) -> DeviceProfile:
    return DeviceProfile(name=name, title=name, deployments=deployments or (ONNX,), connect=Connect(ssh=name))


class Elsewhere(ThisMachine):
    """This machine under another name, which counts its jobs."""

    local = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.copied_bytes = 0
        self.jobs: list[str] = []

    def run(self, job: Any, **rest: Any) -> dict[str, Any]:
        self.jobs.append(job["verb"])
        self.copied_bytes += 1
        return super().run(job, **rest)


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Elsewhere | EdgecnnError]:
    """What answers under each name, or the error of trying."""
    known: dict[str, Elsewhere | EdgecnnError] = {}

    @contextmanager
    def connect(profile: DeviceProfile, *, on_open: Callable[[Any], None]) -> Iterator[Connection]:
        found = known[profile.name]
        if isinstance(found, EdgecnnError):
            raise found
        on_open(found)
        yield Connection(found, {"usable_cores": 1, "machine": profile.name})

    monkeypatch.setattr(fleet, "connect", connect)
    return known


def run(
    paths: Sequence[Path], *profiles: DeviceProfile, listener: Callable[[Event], None] = ignore
) -> list[DeviceResult]:
    plan = planner(open_models(paths), backend=None, threads=None, batches=(1,), end_to_end=False)
    return measure_fleet(profiles, plan, profile=BRIEF, seed=0, listener=listener)


def test_each_device_measures_every_model(
    make_onnx: Callable[..., Path], boards: dict[str, Elsewhere | EdgecnnError]
) -> None:
    boards.update(one=Elsewhere("one"), two=Elsewhere("two"))
    taken = run([make_onnx("a.onnx"), make_onnx("b.onnx")], board("one"), board("two"))
    assert [one.profile.name for one in taken] == ["one", "two"]
    for one in taken:
        assert [latency.name for latency in one.latencies] == ["a.onnx", "b.onnx"]
        assert one.failures == []
        assert one.facts["machine"] == one.profile.name
        assert one.copied_bytes == 4
    for device in boards.values():
        assert isinstance(device, Elsewhere) and device.jobs == ["latency"] * 4


def test_a_device_that_fails_leaves_the_others_alone(
    make_onnx: Callable[..., Path], boards: dict[str, Elsewhere | EdgecnnError]
) -> None:
    boards.update(dead=MissingError("ssh-refused", "dead does not answer"), alive=Elsewhere("alive"))
    dead, alive = run([make_onnx("a.onnx")], board("dead"), board("alive"))
    assert (dead.latencies, [failure.error.code for failure in dead.failures]) == ([], ["ssh-refused"])
    assert dead.failures[0].name is None and dead.facts == {}
    assert len(alive.latencies) == 1 and alive.failures == []


def test_what_a_device_does_not_run_is_a_failure_of_that_model_alone(
    make_onnx: Callable[..., Path], tmp_path: Path, boards: dict[str, Elsewhere | EdgecnnError]
) -> None:
    boards.update(pi=Elsewhere("pi"))
    other = tmp_path / "b.tflite"
    other.write_bytes(b"x")
    (taken,) = run([make_onnx("a.onnx"), other], board("pi"))
    assert [latency.name for latency in taken.latencies] == ["a.onnx"]
    assert [(failure.name, failure.error.code) for failure in taken.failures] == [("b.tflite", "wrong-format")]
    assert "b.tflite" in taken.failures[0].error.message


def test_a_broken_file_fails_on_its_device(
    make_onnx: Callable[..., Path], tmp_path: Path, boards: dict[str, Elsewhere | EdgecnnError]
) -> None:
    boards.update(pi=Elsewhere("pi"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    (taken,) = run([broken, make_onnx("a.onnx")], board("pi"))
    assert [latency.name for latency in taken.latencies] == ["a.onnx"]
    assert [failure.name for failure in taken.failures] == ["broken.onnx"]
    assert isinstance(taken.failures[0].error, StepError)


def test_an_interruption_reaches_every_device(
    make_onnx: Callable[..., Path], boards: dict[str, Elsewhere | EdgecnnError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener of one is interrupted; the other must not run its long measurement to the end."""
    measuring = threading.Event()
    boards.update(one=Elsewhere("one"), two=Elsewhere("two"))

    def listener(event: Event) -> None:
        if isinstance(event, Progress) and "measuring" in event.note:
            if "two" in event.step:
                measuring.set()
            elif measuring.is_set():
                raise KeyboardInterrupt

    long = Profile("long", 50, 32, 1.0, 60.0, warmup_s=0.05)
    plan = planner(open_models([make_onnx("a.onnx")]), backend=None, threads=1, batches=(1,), end_to_end=False)
    with pytest.raises(KeyboardInterrupt):
        measure_fleet([board("one"), board("two")], plan, profile=long, seed=0, listener=listener)
    two = boards["two"]
    assert isinstance(two, Elsewhere) and 0 < len(two.jobs) < 10


def test_an_interruption_reaches_a_device_that_has_not_answered_yet(
    make_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first answer may take minutes, and the whole call would wait for it."""
    asked = threading.Event()

    class Mute(Elsewhere):
        def run(self, job: Any, **rest: Any) -> dict[str, Any]:
            asked.set()
            assert self._stop.wait(20)
            raise StepError("cancelled", "cancelled")

    devices = {"one": Elsewhere("one"), "two": Mute("two")}
    monkeypatch.setattr("edgecnn.measure.board.open_device", lambda profile: nullcontext(devices[profile.name]))

    def listener(event: Event) -> None:
        if isinstance(event, Progress) and asked.is_set():
            raise KeyboardInterrupt

    plan = planner(open_models([make_onnx("a.onnx")]), backend=None, threads=1, batches=(1,), end_to_end=False)
    long = Profile("long", 50, 32, 1.0, 60.0, warmup_s=0.05)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measure_fleet([board("one"), board("two")], plan, profile=long, seed=0, listener=listener)
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize("facts", [None, [1], {"usable_cores": "many"}, {"usable_cores": -3}, {"board": ["x"] * 9999}])
def test_facts_that_make_no_sense_leave_the_other_devices_alone(
    facts: Any, make_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liar(Elsewhere):
        def run(self, job: Any, **rest: Any) -> dict[str, Any]:
            return {"facts": facts} if job["verb"] == "facts" else super().run(job, **rest)

    devices = {"good": Elsewhere("good"), "liar": Liar("liar")}
    monkeypatch.setattr("edgecnn.measure.board.open_device", lambda profile: nullcontext(devices[profile.name]))
    good, liar = run([make_onnx("a.onnx")], board("good"), board("liar"))
    assert [latency.name for latency in good.latencies] == ["a.onnx"]
    if isinstance(facts, dict):
        assert liar.latencies[0].threads == 1
        assert len(str(liar.facts)) < 10_000
    else:
        assert [failure.error.code for failure in liar.failures] == ["bad-answer"]


@pytest.mark.parametrize(
    ("deployments", "suffix", "backend"),
    [
        ((TENSORRT, ONNX), ".onnx", "tensorrt"),
        ((ONNX, TFLITE), ".onnx", "onnxruntime"),
        ((ONNX, TFLITE), ".tflite", "tflite"),
    ],
)
def test_the_first_deployment_that_takes_the_file_runs_it(
    deployments: tuple[Deployment, ...], suffix: str, backend: str, tmp_path: Path
) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"x")
    assert runtime_of(open_artifact(path), board("b", *deployments)) == backend


def test_all_cores_of_the_device_unless_told_otherwise(make_onnx: Callable[..., Path]) -> None:
    artifacts = open_models([make_onnx("a.onnx")])
    connection = Connection(ThisMachine(), {"usable_cores": 4})
    for threads, expected in ((None, 4), (2, 2)):
        plan = planner(artifacts, backend=None, threads=threads, batches=(1, 8), end_to_end=True)
        candidates, _ = plan(board("b"), connection)
        assert [(candidate.name, candidate.batch, candidate.threads) for candidate in candidates] == [
            ("a.onnx x1", 1, expected),
            ("a.onnx x8", 8, expected),
        ]
        assert all(candidate.end_to_end for candidate in candidates)


@pytest.mark.parametrize("text", ["", "0", "1,1", "a", "1,,2", "5000", "-1", "1.5"])
def test_batch_sizes_that_make_no_sense(text: str) -> None:
    with pytest.raises(InputError) as caught:
        batches_of(text)
    assert caught.value.code == "bad-option" and "--batch" in caught.value.message


def test_batch_sizes() -> None:
    assert batches_of("1, 8,32") == (1, 8, 32)
    assert np.all(np.diff(batches_of("1,8")) > 0)


def test_what_a_device_says_it_does_is_one_short_line(make_onnx: Callable[..., Path]) -> None:
    """A line break would let it write lines of its own among ours."""

    class Talking(Elsewhere):
        def run(self, job: Any, *, on_event: Any, **rest: Any) -> dict[str, Any]:
            on_event({"event": "phase", "name": "measuring\n PASS  all is well" + "!" * 9999})
            return super().run(job, on_event=on_event, **rest)

    notes: list[str] = []
    candidate = Candidate("a", open_artifact(make_onnx("a.onnx")), "onnxruntime", 1)
    measure(
        [candidate],
        profile=BRIEF,
        seed=0,
        listener=lambda event: notes.append(event.note) if isinstance(event, Progress) else None,
        device=Talking("pi"),
    )
    assert max(map(len, notes)) < 200 and not any("\n" in note for note in notes)
