"""`check` tries every runtime in a process of its own, and answers where numpy is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecnn.measure.local import run_job
from edgecnn.measure.probe_archive import probe_archive
from edgecnn.probe import check, runtimes


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose content a test writes, found by this process and its children."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "made_up").mkdir()
    return str(tmp_path / "made_up" / "__init__.py")


def tried(path: str, program: str, **limits: float) -> dict[str, object]:
    Path(path).write_text(program)
    return runtimes.try_one("made_up", "made_up", **limits)


def test_one_that_works(package: str) -> None:
    found = tried(package, "__version__ = '1.2.3'")
    assert found == {"installed": True, "version": "1.2.3", "error": "", "signal": None}


def test_one_that_is_not_there() -> None:
    assert runtimes.try_one("no_such_package_here", "no_such_package_here") == {
        "installed": False,
        "version": None,
        "error": "not installed",
        "signal": None,
    }


@pytest.mark.parametrize(("name", "number"), [("SIGILL", 4), ("SIGSEGV", 11), ("SIGABRT", 6)])
def test_one_that_takes_its_process_down(package: str, name: str, number: int) -> None:
    found = tried(package, f"import os, signal\nos.write(2, b'last words')\nos.kill(os.getpid(), signal.{name})")
    assert found == {"installed": True, "version": None, "error": "last words", "signal": number}


def test_one_that_does_not_load(package: str) -> None:
    found = tried(package, "raise ImportError('libgomp.so.1: cannot open shared object file')")
    assert found["error"] == "ImportError: libgomp.so.1: cannot open shared object file"


def test_what_it_prints_does_not_matter(package: str) -> None:
    assert tried(package, "print('{\"version\": 1}'); __version__ = '7'")["version"] == "7"


def test_one_that_hangs_is_ended(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "BEAT_S", 0.1)
    begin = time.monotonic()
    found = tried(package, "import time\ntime.sleep(60)", limit_s=0.4)
    assert found["error"] == "no answer in 0.4 s"
    assert time.monotonic() - begin < 5


def test_every_fact_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow runtimes stand aside: that they are tried is seen above."""
    for name in ("torch", "onnxruntime", "ai_edge_litert"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "interpreter.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    events: list[str] = []
    job = {"verb": "check", "folder": str(tmp_path / "not" / "there")}
    found = run_job(job, on_event=lambda event: events.append(event["note"]), timeout_s=60)["facts"]
    assert list(dict.fromkeys(events)) == list(runtimes.MODULES) == list(found["runtimes"])
    assert found["time_s"] <= found["time_end_s"]
    assert found["disk_free_bytes"] > 0
    assert found["executable"] == sys.executable
    assert {"power_mode", "governors", "cpu_mhz", "temperatures_c", "throttled", "memory_available_bytes"} <= set(found)


def test_it_answers_without_numpy(tmp_path: Path) -> None:
    """Isolated and without site-packages, this Python is one that has none of them."""
    argv = [sys.executable, "-I", "-S", str(probe_archive())]
    done = subprocess.run(argv, input='{"verb": "check"}', capture_output=True, text=True, check=False, timeout=60)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "result", (last, done.stderr)
    assert last["facts"]["numpy"] is None
    assert last["facts"]["tensorrt"]["trtexec"] is None


def test_free_room_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    found = check.free_bytes(str(tmp_path / "a" / "b"))
    assert found is not None
    assert abs(found - os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize) < 1 << 30
