"""How a job on a board ends early: a crash, a hang, another's turn, Ctrl-C, a cancellation."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from boards import HANGING, Cutting, MakeBoard, failing
from local_transport import LocalTransport

from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.board.agent import Patience


def test_a_killed_worker_is_named(make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any) -> None:
    fake_runtime("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    error = failing(make_board(), runtime_job)
    assert error.code in ("probe-killed", "out-of-memory")  # the latter where somebody runs out of memory meanwhile
    assert error.message.startswith("pi: onnxruntime facts was killed")


@pytest.mark.parametrize(
    ("name", "code"), [("SIGILL", "wrong-instruction"), ("SIGSEGV", "probe-crashed"), ("SIGABRT", "probe-crashed")]
)
def test_a_crash_is_named_with_its_last_words(
    name: str, code: str, make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime(f"import os, signal\nos.write(2, b'last \\x1b[31mwords')\nos.kill(os.getpid(), signal.{name})")
    error = failing(make_board(), runtime_job)
    assert error.code == code
    assert name in error.message
    assert error.why == "last words"


def test_leaving_without_a_word_is_a_crash_too(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("import os\nos._exit(3)")
    assert "exit code 3" in failing(make_board(), runtime_job).message


def test_a_hang_ends_with_all_its_processes(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any, tmp_path: Path, gone: Any
) -> None:
    note = tmp_path / "pids"
    fake_runtime(HANGING.format(note=str(note)))
    error = failing(make_board(), runtime_job, timeout_s=1.5)
    assert error.code == "job-timeout"
    assert "1.5 s" in error.message
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_events_before_a_timeout_are_kept(
    make_board: MakeBoard, latency_job: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    events: list[str] = []
    endless = {"warmup": {**latency_job["warmup"], "max_s": 60, "max_runs": 10**9, "min_s": 60, "limit_s": 60}}
    with pytest.raises(StepError) as caught:
        make_board().run(
            {**latency_job, **endless},
            files={"model": model},
            outputs={"output": tmp_path / "o.npy"},
            on_event=lambda event: events.append(event["name"]),
            timeout_s=1.5,
        )
    assert caught.value.code == "job-timeout"
    assert events[-1] == "warm-up"
    assert not (tmp_path / "o.npy").exists()


def test_a_busy_board_names_who_has_it(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any, tmp_path: Path, wait_for: Any
) -> None:
    note = tmp_path / "pids"
    fake_runtime(HANGING.format(note=str(note)))
    first, second = make_board(), make_board()
    ended: list[EdgecnnError] = []
    thread = threading.Thread(target=lambda: ended.append(failing(first, runtime_job)))
    thread.start()
    wait_for(note.exists)
    error = failing(second, runtime_job)
    assert error.code == "device-busy"
    assert "@" in error.message and "process" in error.message
    first.cancel()
    thread.join(20)
    assert [error.code for error in ended] == ["cancelled"]
    assert failing(first, runtime_job).code == "cancelled"


def test_a_job_waits_for_its_turn(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any, tmp_path: Path, wait_for: Any
) -> None:
    begun = tmp_path / "begun"
    fake_runtime(f"import time\nopen({str(begun)!r}, 'w')\ntime.sleep(0.7)\n__version__ = '1'")
    first, second = make_board(), make_board(patience=Patience(busy_s=20))
    said: list[str] = []
    thread = threading.Thread(
        target=first.run, args=(runtime_job,), kwargs={"files": {}, "outputs": {}, "timeout_s": 9}
    )
    thread.start()
    wait_for(begun.exists)
    second.run(runtime_job, files={}, outputs={}, on_event=lambda event: said.append(event["name"]), timeout_s=9)
    thread.join(20)
    assert len(said) == 1 and said[0].startswith("waiting for ") and "@" in said[0]


def test_a_listener_that_fails_ends_the_job(
    make_board: MakeBoard, latency_job: dict[str, Any], model: Path, tmp_path: Path, agent_folder: Path
) -> None:
    def listener(event: Any) -> None:
        if event["name"] == "warm-up":
            raise RuntimeError("the console is gone")

    slow = {"warmup": {**latency_job["warmup"], "min_s": 60, "max_s": 60, "limit_s": 60}}
    with pytest.raises(RuntimeError):
        make_board().run(
            {**latency_job, **slow},
            files={"model": model},
            outputs={"output": tmp_path / "o.npy"},
            on_event=listener,
            timeout_s=60,
        )
    (job,) = (agent_folder / "jobs").iterdir()
    assert json.loads((job / "result.json").read_text())["code"] == "cancelled"


def test_ctrl_c_ends_the_job_on_the_board(
    home: Path, board_python: Path, fake_runtime: Any, tmp_path: Path, wait_for: Any, gone: Any
) -> None:
    note = tmp_path / "pids"
    fake_runtime(HANGING.format(note=str(note)))
    program = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom edgecnn.core.device import Connect\n"
        "from edgecnn.measure.board import Board\nfrom local_transport import LocalTransport\n"
        f"connect = Connect(ssh='x', python={str(board_python)!r})\n"
        f"with Board('pi', LocalTransport(Path({str(home)!r})), connect) as board:\n"
        "    board.run({'verb': 'facts', 'backend': 'onnxruntime'}, files={}, outputs={}, timeout_s=60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_for(note.exists)
    host.send_signal(signal.SIGINT)
    assert host.wait(20) != 0
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_a_board_is_cancelled_while_it_is_away(
    make_board: MakeBoard, home: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("import time\ntime.sleep(30)")
    board = make_board(transport=Cutting(home, after=1, times=99), patience=Patience(pauses_s=(20.0,)))
    threading.Timer(1.0, board.cancel).start()
    begin = time.monotonic()
    assert failing(board, runtime_job).code == "cancelled"
    assert time.monotonic() - begin < 10


def test_a_cancellation_between_two_commands_is_not_lost(
    make_board: MakeBoard, home: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    """It comes when the next call is decided on and not yet begun: no process of ours is there to be ended."""
    fake_runtime("import time\ntime.sleep(30)")

    class Late(LocalTransport):
        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            if b'"start"' in options.get("stdin", b"") and not board._agent.cancelled.is_set():
                board.cancel()
            return super().run(argv, limits, **options)

    board = make_board(transport=Late(home))
    board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)
    begin = time.monotonic()
    assert failing(board, runtime_job).code == "cancelled"
    assert time.monotonic() - begin < 10


def test_nothing_is_copied_after_a_cancellation(
    make_board: MakeBoard, home: Path, latency_job: dict[str, Any], model: Path
) -> None:
    sent: list[Path] = []

    class Counting(LocalTransport):
        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            answer = super().run(argv, limits, **options)
            if b'"start"' in options.get("stdin", b""):
                board.cancel()
            return answer

        def put(self, source: Path, target: str) -> None:
            sent.append(source)
            super().put(source, target)

    board = make_board(transport=Counting(home))
    board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)
    assert failing(board, latency_job, model=model).code == "cancelled"
    assert sent == []


def test_a_board_that_was_given_up_is_not_waited_for_again(
    make_board: MakeBoard, home: Path, runtime_job: dict[str, Any]
) -> None:
    """Each of many models would wait for it in vain."""

    class Away(LocalTransport):
        away = False

        def run(self, argv: Any, limits: Any, **options: Any) -> Any:
            if self.away:
                raise MissingError("ssh-refused", "no route to host")
            return super().run(argv, limits, **options)

    transport = Away(home)
    board = make_board(transport=transport, patience=Patience(reconnect_s=1.0, pauses_s=(0.2,)))
    board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)
    transport.away = True
    assert failing(board, runtime_job).code == "connection-lost"
    begin = time.monotonic()
    assert failing(board, runtime_job).code == "ssh-refused"
    assert time.monotonic() - begin < 0.5
