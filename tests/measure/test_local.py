from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.local import clean_environment, run_job
from edgecnn.probe.privacy import TELEMETRY_SWITCHES

FACTS = {"verb": "facts", "backend": "onnxruntime"}


def failing(job: dict[str, object], *, timeout_s: float = 30.0) -> EdgecnnError:
    with pytest.raises(EdgecnnError) as caught:
        run_job(job, timeout_s=timeout_s)
    return caught.value


def test_a_result_comes_back_without_its_envelope() -> None:
    result = run_job({"verb": "facts"}, timeout_s=30)
    assert set(result) == {"facts"}


def test_events_reach_the_listener_in_order(tmp_path: Path) -> None:
    events: list[str] = []
    job = {"verb": "latency", "backend": "null", "model": "", "output": str(tmp_path / "samples.npy")}
    plan = {
        "warmup": {"min_runs": 10, "min_s": 0, "max_s": 0.1, "max_runs": 10, "limit_s": 1},
        "measure": {"min_iterations": 5, "min_s": 0, "max_s": 1},
    }
    run_job({**job, **plan}, on_event=lambda event: events.append(event["name"]), timeout_s=30)
    assert events == ["warm-up", "measuring"]


def test_a_missing_runtime_says_what_to_install(fake_runtime: Callable[[str], None]) -> None:
    fake_runtime("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    error = failing(FACTS)
    assert isinstance(error, MissingError)
    assert error.code == "missing-runtime"
    assert "pip install onnxruntime" in error.hint


def test_a_corrupted_model_carries_the_runtimes_words(tmp_path: Path) -> None:
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"\x08garbage" * 100)
    job = {"verb": "latency", "backend": "onnxruntime", "model": str(model), "output": str(tmp_path / "o.npy")}
    error = failing(
        {
            **job,
            "warmup": dict.fromkeys(("min_runs", "min_s", "max_s", "max_runs", "limit_s"), 1),
            "measure": {"min_iterations": 1, "min_s": 0, "max_s": 1},
        }
    )
    assert isinstance(error, StepError)
    assert error.code == "cannot-load"
    assert "broken.onnx" in error.message
    assert error.why


def test_a_job_the_probe_does_not_understand() -> None:
    assert failing({"verb": "fly"}).code == "bad-job"
    assert failing({"verb": "facts", "backend": "onyxruntime"}).code == "unknown-backend"


def test_a_kill_is_named_as_probable_lack_of_memory(fake_runtime: Callable[[str], None]) -> None:
    fake_runtime("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    error = failing(FACTS)
    assert error.code == "probe-killed"
    assert "memory" in error.message


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("SIGILL", "wrong-instruction", "instruction that this CPU does not have"),
        ("SIGSEGV", "probe-crashed", "SIGSEGV"),
        ("SIGABRT", "probe-crashed", "SIGABRT"),
    ],
)
def test_a_crash_is_named(name: str, code: str, says: str, fake_runtime: Callable[[str], None]) -> None:
    fake_runtime(f"import os, signal\nos.write(2, b'last words')\nos.kill(os.getpid(), signal.{name})")
    error = failing(FACTS)
    assert error.code == code
    assert says in error.message
    assert error.why == "last words"


def test_leaving_without_a_word_is_a_crash_too(fake_runtime: Callable[[str], None]) -> None:
    fake_runtime("import os\nos._exit(3)")
    assert "exit code 3" in failing(FACTS).message


def test_an_unexpected_exception_is_told_with_its_text(fake_runtime: Callable[[str], None]) -> None:
    fake_runtime("raise RuntimeError('module compiled for another numpy')")
    error = failing(FACTS)
    assert error.code == "broken-runtime"
    assert "another numpy" in error.why


def test_a_hang_ends_at_the_timeout_with_its_whole_group(tmp_path: Path, fake_runtime: Callable[[str], None]) -> None:
    note = tmp_path / "pids"
    fake_runtime(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)"
    )
    begin = time.monotonic()
    error = failing(FACTS, timeout_s=1.5)
    assert error.code == "probe-timeout"
    assert time.monotonic() - begin < 5
    assert all(gone(int(pid)) for pid in note.read_text().split())


def test_ctrl_c_takes_the_probe_along(tmp_path: Path, fake_runtime: Callable[[str], None]) -> None:
    note = tmp_path / "pid"
    fake_runtime(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    program = "from edgecnn.measure.local import run_job\n" + f"run_job({FACTS!r}, timeout_s=60)"
    # A runner may ignore SIGINT, and ignoring is inherited.
    program = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n" + program
    host = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_for(lambda: note.exists() and note.read_text() != "")
    host.send_signal(signal.SIGINT)
    assert host.wait(10) != 0
    assert gone(int(note.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process of its parent's death")
def test_a_killed_host_takes_the_probe_along(tmp_path: Path, fake_runtime: Callable[[str], None]) -> None:
    note = tmp_path / "pid"
    fake_runtime(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    program = "from edgecnn.measure.local import run_job\n" + f"run_job({FACTS!r}, timeout_s=60)"
    host = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_for(lambda: note.exists() and note.read_text() != "")
    host.kill()
    host.wait(10)
    assert gone(int(note.read_text()))


def test_the_environment_has_no_opinion_on_threads() -> None:
    environment = {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "2", "KMP_AFFINITY": "x", "PATH": "/bin"}
    assert clean_environment(environment) == {"PATH": "/bin", **TELEMETRY_SWITCHES}


def gone(pid: int) -> bool:
    def absent() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state == "Z"

    if not Path("/proc/self").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
    wait_for(absent)
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)
