"""What goes wrong with boards, made to happen on one: each has its own name, and what need not be lost is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.board import Board
from edgecnn.measure.board.agent import Patience
from edgecnn.measure.transport.ssh import SshTransport

if TYPE_CHECKING:
    from emulated_board import EmulatedBoard

pytestmark = pytest.mark.slow
WARMUP = {"min_runs": 2, "min_s": 0.0, "max_s": 1.0, "max_runs": 4, "limit_s": 1.0}


def latency(seconds: float) -> dict[str, Any]:
    """A job of the null backend that measures for so long."""
    measure = {"min_iterations": 1, "min_s": seconds, "max_s": seconds}
    return {"verb": "latency", "backend": "null", "threads": 1, "warmup": WARMUP, "measure": measure}


def assert_nothing_runs(board: EmulatedBoard) -> None:
    """Soon: an agent that has ended its job has yet to end itself, and the jobs of these tests would last a minute."""
    deadline = time.monotonic() + 20
    while left := [process for process in board.processes() if any(".pyz" in word for word in process.argv)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@contextmanager
def reach(board: EmulatedBoard, **connect: Any) -> Iterator[Board]:
    """A connection of its own, with little patience."""
    way = Connect(ssh=board.host, config=board.ssh_config, **connect)
    patience = replace(Patience(), pauses_s=(0.5,), reconnect_s=60.0, busy_s=2.0)
    with Board("pi", SshTransport(way, name="pi"), way, patience=patience) as found:
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the null backend reads no file" * 1000)
    return path


class Job:
    """A job in a thread; `measuring` is set when the clock runs on the board."""

    def __init__(self, device: Board, job: Mapping[str, Any], model: Path, *, timeout_s: float = 120.0) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.measuring = threading.Event()
        self.result: dict[str, Any] = {}
        self.error: EdgecnnError | None = None
        self.output = model.with_suffix(".npy")

        def listen(event: Mapping[str, Any]) -> None:
            self.events.append(event)
            if event.get("name") == "measuring":
                self.measuring.set()

        def work() -> None:
            try:
                self.result = device.run(
                    job,
                    files={"model": model},
                    outputs={"output": self.output},
                    on_event=listen,
                    timeout_s=timeout_s,
                )
            except EdgecnnError as error:
                self.error = error

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def wait_until_measuring(self) -> None:
        assert self.measuring.wait(60), (self.events, self.error)

    def end(self) -> Job:
        self._thread.join(150)
        assert not self._thread.is_alive()
        return self


def worker_of(board: EmulatedBoard) -> int:
    """The process that runs the model: the agent's own have a relative path, the one that reads sensors takes -S."""
    (found,) = [
        process.pid
        for process in board.processes()
        if process.argv[-1].endswith(".pyz") and process.argv[-1].startswith("/") and "-S" not in process.argv
    ]
    return found


def test_a_cut_connection_loses_nothing(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as device:
        job = Job(device, latency(6.0), model)
        job.wait_until_measuring()
        board.cut()
        job.end()
    assert job.error is None, job.error
    assert job.result["samples"] == len(np.load(job.output, allow_pickle=False)) > 0
    numbers = [event["seq"] for event in job.events if "seq" in event]
    assert numbers == sorted(set(numbers))


def test_a_board_that_is_away_for_a_while_is_waited_for(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as device:
        job = Job(device, latency(3.0), model)
        job.wait_until_measuring()
        board.stop_listening()
        board.cut()
        threading.Event().wait(6.0)
        board.listen_again()
        job.end()
    assert job.error is None, job.error
    assert job.result["samples"] > 0


def test_a_killed_worker_is_called_so(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as device:
        job = Job(device, latency(30.0), model)
        job.wait_until_measuring()
        assert board.run(f"kill -9 {worker_of(board)}").returncode == 0
        job.end()
        assert isinstance(job.error, StepError) and job.error.code == "probe-killed"
        assert device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)["facts"]["machine"] == "aarch64"


def test_a_worker_that_hangs_is_ended_with_all_it_started(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as device:
        job = Job(device, latency(60.0), model, timeout_s=12.0)
        job.wait_until_measuring()
        assert board.run(f"kill -STOP {worker_of(board)}").returncode == 0
        job.end()
        assert isinstance(job.error, StepError) and job.error.code == "job-timeout"
    assert_nothing_runs(board)


def test_a_reboot_is_called_so(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as device:
        job = Job(device, latency(60.0), model)
        job.wait_until_measuring()
        board.reboot()
        job.end()
        assert isinstance(job.error, StepError) and job.error.code == "board-rebooted"
        assert device.run(latency(0.1), files={"model": model}, outputs={"output": job.output}, timeout_s=60)


def test_a_full_disk_is_called_so(board: EmulatedBoard, model: Path) -> None:
    with board.small_disk("/home/pi/small", 600_000), reach(board, folder="small/edgecnn") as device:
        model.write_bytes(b"x" * 5_000_000)
        job = Job(device, latency(0.1), model).end()
    assert isinstance(job.error, StepError) and job.error.code == "disk-full", job.error
    assert job.error.hint


def test_a_busy_board_names_who_holds_it(board: EmulatedBoard, model: Path) -> None:
    with reach(board) as one, reach(board) as other:
        long = Job(one, latency(15.0), model)
        long.wait_until_measuring()
        turned_away = Job(other, latency(0.1), model).end()
        assert isinstance(turned_away.error, StepError) and turned_away.error.code == "device-busy"
        assert "@" in f"{turned_away.error.message}{turned_away.error.why}"
        long.end()
    assert long.error is None


def test_a_board_without_python(board: EmulatedBoard) -> None:
    with reach(board, python="/usr/bin/no-such-python") as device, pytest.raises(MissingError) as caught:
        device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)
    assert caught.value.code == "python-missing" and caught.value.hint


def test_another_machine_at_the_same_address_is_refused(board: EmulatedBoard) -> None:
    board.change_host_key()
    with reach(board) as device, pytest.raises(MissingError) as caught:
        device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)
    assert caught.value.code == "host-key-changed"


def test_a_board_that_is_off(board: EmulatedBoard) -> None:
    board.stop_listening()
    with reach(board) as device, pytest.raises(MissingError) as caught:
        device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)
    assert caught.value.code == "ssh-refused"


def test_a_key_that_is_not_there(board: EmulatedBoard, tmp_path: Path) -> None:
    lines = board.ssh_config.read_text().splitlines()
    config = tmp_path / "config"
    config.write_text("\n".join("  IdentityFile /nowhere" if "IdentityFile" in line else line for line in lines))
    way = Connect(ssh=board.host, config=config)
    with Board("pi", SshTransport(way, name="pi"), way) as device, pytest.raises(MissingError) as caught:
        device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)
    assert caught.value.code == "ssh-key-missing"


def test_nothing_is_left_running(board: EmulatedBoard, model: Path) -> None:
    """After an interrupted listener the job ends on the board too."""

    def interrupted(event: Mapping[str, Any]) -> None:
        if event.get("name") == "measuring":
            raise KeyboardInterrupt

    with reach(board) as device, pytest.raises(KeyboardInterrupt):
        device.run(
            latency(60.0),
            files={"model": model},
            outputs={"output": model.with_suffix(".npy")},
            on_event=interrupted,
            timeout_s=120,
        )
    assert_nothing_runs(board)
