"""A board over a real ssh connection: what a job sees of it, and of its loss."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import EdgecnnError, MissingError
from edgecnn.measure.board import Board

MakeBoard = Callable[[], Board]


def test_a_job_and_a_second_that_copies_nothing(
    ssh_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, sshd: Any
) -> None:
    with ssh_board() as board:
        for _ in range(2):
            result = board.run(
                latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=60
            )
            assert len(np.load(tmp_path / "o.npy")) == result["samples"]
            assert board.copied_bytes == 5000
        assert board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)["facts"]["python"]
    assert not list((tmp_path / "sshd" / "agent" / "jobs").iterdir())


def test_a_big_array_comes_back(ssh_board: MakeBoard, tmp_path: Path) -> None:
    pixels, answer = tmp_path / "pixels.npy", tmp_path / "logits.npy"
    np.save(pixels, np.zeros((40, 4, 4, 3), np.uint8))
    options = {"shape": [1, 3, 4, 4], "classes": 2000}
    job = {"verb": "accuracy", "backend": "null", "mean": [0.0] * 3, "std": [1.0] * 3, "options": options}
    ssh_board().run(job, files={"model": pixels, "pixels": pixels}, outputs={"output": answer}, timeout_s=60)
    assert np.load(answer).shape == (40, 2000)


def test_a_cut_in_the_middle_of_a_job_loses_nothing(
    ssh_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, sshd: Any
) -> None:
    events: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("name") in ("warm-up", "measuring"):
            sshd.cut()

    slow = {"warmup": {**latency_job["warmup"], "min_s": 1.0, "max_s": 1.0, "limit_s": 1.0}}
    slow["measure"] = {"min_iterations": 20, "min_s": 1.0, "max_s": 1.0}
    result = ssh_board().run(
        {**latency_job, **slow},
        files={"model": model},
        outputs={"output": tmp_path / "o.npy"},
        on_event=on_event,
        timeout_s=60,
    )
    assert [event["name"] for event in events if "seq" in event] == ["warm-up", "measuring"]
    assert [event["seq"] for event in events if "seq" in event] == [1, 2]
    assert any("connection lost" in event["name"] for event in events)
    assert len(np.load(tmp_path / "o.npy")) == result["samples"]


def test_a_server_that_is_gone_for_a_while(
    ssh_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Callable[[str], None], sshd: Any
) -> None:
    """Refused while it starts again, as after a restart of its network; the job did not notice."""
    fake_runtime("import time\ntime.sleep(2)\n__version__ = '7'")
    said: list[str] = []
    timers: list[threading.Timer] = []
    board = ssh_board()
    board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)

    def away() -> None:
        sshd.stop()
        timers.append(threading.Timer(1.0, sshd.start))
        timers[-1].start()

    timers.append(threading.Timer(0.8, away))
    timers[0].start()
    result = board.run(
        runtime_job, files={}, outputs={}, on_event=lambda event: said.append(event["name"]), timeout_s=60
    )
    assert result["facts"]["runtime"] == "7"
    assert said == ["connection lost, looking for the board"]
    for timer in timers:
        timer.join()


def test_a_refusal_at_the_first_word_is_told_at_once(
    ssh_board: MakeBoard, runtime_job: dict[str, Any], sshd: Any
) -> None:
    sshd.stop()
    with pytest.raises(EdgecnnError) as caught:
        ssh_board().run(runtime_job, files={}, outputs={}, timeout_s=60)
    assert isinstance(caught.value, MissingError)
    assert caught.value.code == "ssh-refused"


def test_ctrl_c_ends_the_job_there(
    ssh_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Callable[[str], None], tmp_path: Path, gone: Any
) -> None:
    note = tmp_path / "pid"
    fake_runtime(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    board = ssh_board()
    heard = board._agent.transport.run

    def run(argv: Any, limits: Any, **options: Any) -> Any:
        if b'"start"' in options.get("stdin", b""):

            def interrupted(line: bytes, on_line: Any = options["on_line"]) -> None:
                on_line(line)
                if b"started" in line:
                    while not (note.exists() and note.read_text()):
                        pass
                    raise KeyboardInterrupt

            options["on_line"] = interrupted
        return heard(argv, limits, **options)

    board._agent.transport.run = run  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        board.run(runtime_job, files={}, outputs={}, timeout_s=60)
    assert gone(int(note.read_text()))


def test_python_is_missing_there(ssh_board: MakeBoard, sshd: Any, board_python: Path) -> None:
    board = ssh_board()
    board_python.unlink()
    with pytest.raises(MissingError) as caught:
        board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=60)
    assert caught.value.code == "python-missing"
