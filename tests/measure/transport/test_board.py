"""A board whose way is a folder of this host: everything but the network is real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import HANGING, Cutting, MakeBoard, failing
from local_transport import LocalTransport

from edgecnn.core.device import Connect, DeviceProfile
from edgecnn.core.errors import MissingError, StepError
from edgecnn.measure.board import Board, open_device
from edgecnn.measure.board.agent import Patience
from edgecnn.measure.device import ThisMachine


def test_a_job_its_events_and_its_array(
    make_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    result = make_board().run(
        latency_job,
        files={"model": model},
        outputs={"output": tmp_path / "samples.npy"},
        on_event=events.append,
        timeout_s=30,
    )
    assert "seq" not in result and "event" not in result
    assert len(np.load(tmp_path / "samples.npy", allow_pickle=False)) == result["samples"]
    names = [event["name"] for event in events]
    assert names[0] == "copying model.onnx (0.0 MB)"
    assert names[1:] == ["warm-up", "measuring"]


def test_a_second_job_copies_nothing_and_the_first_one_is_tidied(
    make_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, agent_folder: Path
) -> None:
    with make_board() as board:
        for _ in range(2):
            board.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
            assert board.copied_bytes == 5000
            assert len(list((agent_folder / "jobs").iterdir())) == 1
    assert not list((agent_folder / "jobs").iterdir())
    other = make_board()
    other.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
    assert other.copied_bytes == 0
    assert [path.suffix for path in (agent_folder / "files").iterdir()] == [".onnx"]


def test_the_second_job_takes_one_command(
    make_board: MakeBoard, home: Path, model: Path, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    transport = Cutting(home, after=-1)
    board = make_board(transport=transport)
    for _ in range(2):
        board.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
    assert transport.verbs[-1:] == ["start"]
    assert transport.verbs.count("start") == 4  # no probe; no file; the first job; the second


def test_a_big_array_is_fetched_by_itself(make_board: MakeBoard, home: Path, tmp_path: Path) -> None:
    pixels, answer = tmp_path / "pixels.npy", tmp_path / "logits.npy"
    np.save(pixels, np.zeros((40, 4, 4, 3), np.uint8))
    transport = Cutting(home, after=-1)
    options = {"shape": [1, 3, 4, 4], "classes": 2000}
    job = {"verb": "accuracy", "backend": "null", "mean": [0.0] * 3, "std": [1.0] * 3, "options": options}
    files = {"model": pixels, "pixels": pixels}
    make_board(transport=transport).run(job, files=files, outputs={"output": answer}, timeout_s=30)
    assert np.load(answer).shape == (40, 2000)
    assert transport.verbs[-1] == "cat"


def test_files_of_the_agent_are_the_users_alone(
    make_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, agent_folder: Path
) -> None:
    board = make_board()
    board.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
    for path in agent_folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_facts_are_told_beside_anothers_job(make_board: MakeBoard) -> None:
    assert make_board().run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)["facts"]["python"]


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_cut_loses_no_event_and_no_result(
    after: int, make_board: MakeBoard, home: Path, model: Path, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    transport = Cutting(home, after=after, times=3)
    seen: list[dict[str, Any]] = []
    board = make_board(transport=transport)
    for _ in range(2):
        seen.clear()
        result = board.run(
            latency_job,
            files={"model": model},
            outputs={"output": tmp_path / "o.npy"},
            on_event=seen.append,
            timeout_s=30,
        )
    assert [event["seq"] for event in seen if "seq" in event] == [1, 2]
    assert len(np.load(tmp_path / "o.npy")) == result["samples"]
    assert "follow" in transport.verbs


def test_a_board_that_stays_away_is_given_up_and_ends_the_job_itself(
    make_board: MakeBoard,
    home: Path,
    runtime_job: dict[str, Any],
    fake_runtime: Any,
    tmp_path: Path,
    wait_for: Any,
    gone: Any,
) -> None:
    class Away(Cutting):
        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                wait_for(note.exists)
                raise MissingError("ssh-refused", "still away", why="no route")
            return super().run(argv, limits, **options)

    note = tmp_path / "pids"
    fake_runtime(HANGING.format(note=str(note)))
    patience = Patience(reconnect_s=0.6, pauses_s=(0.1,), abandon_s=3.0)
    error = failing(make_board(transport=Away(home, after=2), patience=patience), runtime_job)
    assert isinstance(error, StepError)
    assert (error.code, error.why) == ("connection-lost", "no route")
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_a_restarted_board_is_named(
    make_board: MakeBoard, home: Path, agent_folder: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("import time\ntime.sleep(30)")

    class Rebooting(Cutting):
        """The power goes: nothing of the job is left but its files, and they are of an earlier boot."""

        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                (job,) = (agent_folder / "jobs").iterdir()
                pid = (job / "alive").read_text()
                if pid:
                    os.kill(int(pid), signal.SIGKILL)
                    (job / "alive").write_text("")
                told = json.loads((job / "job.json").read_text())
                (job / "job.json").write_text(json.dumps({**told, "boot_id": "before"}))
            return super().run(argv, limits, **options)

    error = failing(make_board(transport=Rebooting(home, after=2)), runtime_job)
    assert isinstance(error, StepError)
    assert error.code == "board-rebooted"
    assert "pi" in error.message and "before" in error.why


def test_a_board_that_forgot_the_job_says_so(
    make_board: MakeBoard, home: Path, agent_folder: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("import time\ntime.sleep(1)")

    class Forgetting(Cutting):
        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                shutil.rmtree(agent_folder / "jobs")
                (agent_folder / "jobs").mkdir()
            return super().run(argv, limits, **options)

    assert failing(make_board(transport=Forgetting(home, after=2)), runtime_job).code == "job-lost"


def test_two_boards_at_once_do_not_meet(
    board_python: Path, tmp_path: Path, model: Path, latency_job: dict[str, Any]
) -> None:
    connect = Connect(ssh="x", python=str(board_python))
    boards = [Board(f"pi{i}", LocalTransport(tmp_path / f"home{i}"), connect) for i in range(2)]
    results: dict[str, Any] = {}

    def run(board: Board) -> None:
        with board:
            output = tmp_path / f"{board.name}.npy"
            results[board.name] = board.run(
                latency_job, files={"model": model}, outputs={"output": output}, timeout_s=60
            )

    threads = [threading.Thread(target=run, args=(board,)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["pi0", "pi1"]
    assert [board.copied_bytes for board in boards] == [5000, 5000]
    for name, result in results.items():
        assert len(np.load(tmp_path / f"{name}.npy")) == result["samples"]


def test_opening_a_device() -> None:
    way = {"format": "onnx", "backend": "onnxruntime", "family": "onnxruntime"}
    profile = {"title": "t", "deployments": [way]}
    with open_device(DeviceProfile(name="host", local=True, **profile)) as device:
        assert isinstance(device, ThisMachine)
    with pytest.raises(MissingError) as caught:
        open_device(DeviceProfile(name="raspberry-pi-5", **profile))
    assert caught.value.code == "no-connection"
    assert "--like raspberry-pi-5" in caught.value.hint
    with open_device(DeviceProfile(name="pi", connect={"ssh": "pi@nowhere.invalid"}, **profile)) as device:
        assert (device.name, device.local) == ("pi", False)
        with pytest.raises(MissingError) as caught:
            device.run({"verb": "facts"}, files={}, outputs={}, timeout_s=10)
    assert caught.value.code == "ssh-refused"
