"""A board whose way is a folder of this host: everything but the network is real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError
from edgecnn.core.target import Connect, DeviceProfile
from edgecnn.measure.board import Board, open_device
from edgecnn.measure.board.agent import Patience
from edgecnn.measure.device import ThisMachine
from edgecnn.measure.transport.local import LocalTransport

MakeBoard = Callable[..., Board]
HANGING = (
    "import os, signal, subprocess, time\n"
    "child = subprocess.Popen(['sleep', '60'])\n"
    "open({note!r} + '.part', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
    "os.rename({note!r} + '.part', {note!r})\n"
    "time.sleep(60)\n"
)


def failing(board: Board, job: dict[str, Any], *, timeout_s: float = 30.0, **files: Path) -> EdgecnnError:
    with pytest.raises(EdgecnnError) as caught:
        board.run(job, files=files, outputs={}, timeout_s=timeout_s)
    return caught.value


class Cutting(LocalTransport):
    """Ends the call when the `after`-th event has come, as a cut cable does; `times` times."""

    def __init__(self, home: Path, *, after: int, times: int = 1) -> None:
        super().__init__(home)
        self._after = after
        self._times = times
        self.verbs: list[str] = []

    def run(self, argv: Any, **options: Any) -> Any:
        on_line, seen = options.get("on_line"), 0
        request = json.loads(options["stdin"]) if on_line else {}
        self.verbs.append(request.get("verb", argv[0]))

        def counted(line: bytes) -> None:
            nonlocal seen
            on_line(line)
            seen += b'"result"' not in line
            if seen == self._after and self._times and request["verb"] in ("start", "follow"):
                self._times -= 1
                raise StepError("connection-lost", "cut")

        return super().run(argv, **{**options, "on_line": counted if on_line else None})


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
    make_board: MakeBoard, home: Path, runtime_job: dict[str, Any], fake_runtime: Any, tmp_path: Path, gone: Any
) -> None:
    class Away(Cutting):
        def run(self, argv: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                raise MissingError("ssh-refused", "still away", why="no route")
            return super().run(argv, **options)

    note = tmp_path / "pids"
    fake_runtime(HANGING.format(note=str(note)))
    patience = Patience(reconnect_s=0.6, pauses_s=(0.1,), abandon_s=0.5)
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

        def run(self, argv: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                (job,) = (agent_folder / "jobs").iterdir()
                pid = (job / "alive").read_text()
                if pid:
                    os.kill(int(pid), signal.SIGKILL)
                    (job / "alive").write_text("")
                told = json.loads((job / "job.json").read_text())
                (job / "job.json").write_text(json.dumps({**told, "boot_id": "before"}))
            return super().run(argv, **options)

    error = failing(make_board(transport=Rebooting(home, after=2)), runtime_job)
    assert isinstance(error, StepError)
    assert error.code == "board-rebooted"
    assert "pi" in error.message and "before" in error.why


def test_a_board_that_forgot_the_job_says_so(
    make_board: MakeBoard, home: Path, agent_folder: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("import time\ntime.sleep(1)")

    class Forgetting(Cutting):
        def run(self, argv: Any, **options: Any) -> Any:
            if "follow" in str(options.get("stdin")):
                shutil.rmtree(agent_folder / "jobs")
                (agent_folder / "jobs").mkdir()
            return super().run(argv, **options)

    assert failing(make_board(transport=Forgetting(home, after=2)), runtime_job).code == "job-lost"


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
        "from pathlib import Path\nfrom edgecnn.core.target import Connect\n"
        "from edgecnn.measure.board import Board\nfrom edgecnn.measure.transport.local import LocalTransport\n"
        f"connect = Connect(ssh='x', python={str(board_python)!r})\n"
        f"with Board('pi', LocalTransport(Path({str(home)!r})), connect) as board:\n"
        "    board.run({'verb': 'facts', 'backend': 'onnxruntime'}, files={}, outputs={}, timeout_s=60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_for(note.exists)
    host.send_signal(signal.SIGINT)
    assert host.wait(20) != 0
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_no_python_on_the_board(make_board: MakeBoard, runtime_job: dict[str, Any]) -> None:
    error = failing(make_board(python="python9"), runtime_job)
    assert isinstance(error, MissingError)
    assert error.code == "python-missing"
    assert "python:" in error.hint
    assert failing(make_board(python="python9"), {"verb": "facts"}).code == "python-missing"


def test_an_old_python_on_the_board(make_board: MakeBoard, old_python: Path, runtime_job: dict[str, Any]) -> None:
    error = failing(make_board(python=str(old_python)), runtime_job)
    assert isinstance(error, MissingError)
    assert error.code == "python-too-old"
    assert "3.8" in error.message


def test_an_old_python_beside_a_probe_that_is_there(
    make_board: MakeBoard, old_python: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
    assert failing(make_board(python=str(old_python)), runtime_job).code == "python-too-old"


def test_a_python_for_another_processor(make_board: MakeBoard, tmp_path: Path, runtime_job: dict[str, Any]) -> None:
    wrong = tmp_path / "python3"
    wrong.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\x7f" + bytes(64))
    wrong.chmod(0o755)
    error = failing(make_board(python=str(wrong)), runtime_job)
    assert isinstance(error, StepError)
    assert error.code == "wrong-architecture"


def test_no_numpy_on_the_board(
    make_board: MakeBoard, board_python: Path, latency_job: dict[str, Any], model: Path
) -> None:
    (site,) = (board_python.parents[1] / "lib").glob("python*/site-packages")
    (site / "all.pth").unlink()
    error = failing(make_board(), latency_job, model=model)
    assert isinstance(error, MissingError)
    assert error.code == "missing-runtime"
    assert error.hint == f"ssh nowhere {board_python} -m pip install numpy"


def test_a_missing_runtime_says_what_to_type_here(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any, board_python: Path
) -> None:
    fake_runtime("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    error = failing(make_board(), runtime_job)
    assert isinstance(error, MissingError)
    assert error.hint == f"ssh nowhere {board_python} -m pip install onnxruntime"


def test_a_model_the_runtime_refuses_is_named(make_board: MakeBoard, latency_job: dict[str, Any], model: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(StepError) as caught:
        make_board().run(
            {**latency_job, "backend": "onnxruntime"},
            files={"model": model},
            outputs={"output": model.with_name("o.npy")},
            timeout_s=60,
        )
    assert caught.value.code == "cannot-load"
    assert caught.value.message.startswith("pi: ") and str(model) in caught.value.message


def test_a_damaged_probe_is_replaced(
    make_board: MakeBoard, agent_folder: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
    (probe,) = (agent_folder / "probe").iterdir()
    whole = probe.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole + b"\0"):
        probe.write_bytes(damaged)
        make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
        assert probe.read_bytes() == whole


def test_a_damaged_file_on_the_board_is_sent_again(
    make_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, agent_folder: Path
) -> None:
    board = make_board()
    for _ in range(2):
        board.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
        (there,) = (agent_folder / "files").iterdir()
        assert there.read_bytes() == model.read_bytes()
        there.write_bytes(bytes(5000))
    assert board.copied_bytes == 10_000


def test_a_file_that_arrives_damaged_is_an_error(
    make_board: MakeBoard, home: Path, model: Path, latency_job: dict[str, Any], agent_folder: Path
) -> None:
    class Damaging(LocalTransport):
        def put(self, source: Path, target: str) -> None:
            super().put(source, target)
            (home / target).write_bytes(bytes(5000))

    error = failing(make_board(transport=Damaging(home)), latency_job, model=model)
    assert error.code == "damaged-transfer"
    assert not list((agent_folder / "files").iterdir())


def test_a_file_that_is_not_there_is_the_users_to_mend(
    make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    error = failing(make_board(), latency_job, model=tmp_path / "no.onnx")
    assert isinstance(error, InputError)
    assert error.code == "file-missing"


def test_a_model_too_big_for_the_memory(make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)

    board = make_board()
    board._files._digests[(str(huge.resolve()), 1 << 40, huge.stat().st_mtime_ns, huge.stat().st_ino)] = "0" * 64
    error = failing(board, latency_job, model=huge)
    assert error.code == "too-big-for-memory"
    assert str(huge) in error.message and "MB are available" in error.why
    assert board.copied_bytes == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    words = [str(mount), "-t", "tmpfs", "-o", "size=40m", "edgecnn-test", str(folder)]
    if not (mount and umount) or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small tmpfs here: it takes root")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


def test_a_file_that_does_not_fit_is_refused_before_it_travels(
    small_disk: Path, make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes(bytes(20 << 20))
    board = make_board(transport=LocalTransport(small_disk / "home"))
    error = failing(board, latency_job, model=big)
    assert error.code == "disk-full"
    assert "MB are needed" in error.why
    assert board.copied_bytes == 0


def test_a_disk_that_fills_during_the_job_is_told_as_that(
    small_disk: Path, make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    """The runtime fills the disk to the last byte, and then the worker dies or has much to tell."""
    fill = (
        "import os\n"
        f"with open({str(small_disk / 'ballast')!r}, 'wb', buffering=0) as stream:\n"
        "    try:\n"
        "        while stream.write(bytes(4096)): pass\n"
        "    except OSError: pass\n"
    )
    transport = LocalTransport(small_disk / "home")
    for end in ("os._exit(1)", "raise RuntimeError('cannot write its cache')", "__version__ = 'x' * 300000"):
        fake_runtime(fill + end)
        error = failing(make_board(transport=transport), runtime_job)
        assert error.code == "disk-full", end
        (small_disk / "ballast").unlink()


def test_a_disk_that_is_full_before_the_job(
    small_disk: Path, make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    transport = LocalTransport(small_disk / "home")
    (small_disk / "ballast").write_bytes(bytes((40 << 20) - 8192))
    assert failing(make_board(transport=transport), runtime_job).code == "disk-full"
    (small_disk / "ballast").unlink()
    make_board(transport=transport).run(runtime_job, files={}, outputs={}, timeout_s=30)
    with (small_disk / "ballast").open("wb", buffering=0) as stream, pytest.raises(OSError, match="space"):
        while True:
            stream.write(bytes(4096))
    assert failing(make_board(transport=transport), runtime_job).code == "disk-full"
    assert make_board(transport=transport).run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)["facts"]


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
        def run(self, argv: Any, **options: Any) -> Any:
            if b'"start"' in options.get("stdin", b"") and not board._agent.cancelled.is_set():
                board.cancel()
            return super().run(argv, **options)

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
        def run(self, argv: Any, **options: Any) -> Any:
            answer = super().run(argv, **options)
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

        def run(self, argv: Any, **options: Any) -> Any:
            if self.away:
                raise MissingError("ssh-refused", "no route to host")
            return super().run(argv, **options)

    transport = Away(home)
    board = make_board(transport=transport, patience=Patience(reconnect_s=1.0, pauses_s=(0.2,)))
    board.run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)
    transport.away = True
    assert failing(board, runtime_job).code == "connection-lost"
    begin = time.monotonic()
    assert failing(board, runtime_job).code == "ssh-refused"
    assert time.monotonic() - begin < 0.5


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
