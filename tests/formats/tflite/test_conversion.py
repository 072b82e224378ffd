"""The process that converts to TFLite: its result, its end with the command, and errors where it ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgecnn.core.errors import EdgecnnError, MissingError
from edgecnn.formats.tflite import conversion, converter
from edgecnn.probe.python import python_command

pytest.importorskip("litert_torch")
MODEL = SimpleNamespace(name="tests:small", input_shape=(3, 8, 8))
READ = "import os, signal, sys; folder = sys.stdin.read(); "


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The converter runs as it does for users, and leaves nothing in this temporary folder."""
    monkeypatch.setattr(conversion, "run_converter", conversion.run_in_own_process)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.glob("edgecnn-*")) == []


def test_the_process_writes_what_the_converter_writes_here(own_process: Path) -> None:
    made = conversion.converted(small(), MODEL)
    conversion.export_program(small(), MODEL, own_process)
    converter.attempt(own_process)
    assert made == (own_process / converter.CONVERTED).read_bytes()


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "converter-crashed", "SIGSEGV"),
        ("sys.stderr.write('LLVM ERROR: broken'); os._exit(1)", "converter-crashed", "LLVM ERROR: broken"),
        ("sys.stderr.write('noise ' * 9_000_000 + 'the end'); os._exit(3)", "converter-crashed", "the end"),
        ("sys.stderr.write('LLVM ERROR: IO failure: No space left on device'); os._exit(1)", "cannot-write", "TMPDIR"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "out-of-memory", "SIGKILL"),
        ("sys.stderr.write('terminate called: std::bad_alloc'); os.abort()", "out-of-memory", "bad_alloc"),
    ],
)
def test_a_process_that_ends_by_itself(
    own_process: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: str, words: str
) -> None:
    monkeypatch.setattr(converter, "COMMAND", python_command(READ + program))
    with pytest.raises(EdgecnnError) as caught:
        conversion.converted(small(), MODEL)
    shown = f"{caught.value.message} {caught.value.why} {caught.value.hint}"
    assert caught.value.code == code and words in shown and caught.value.hint
    assert len(shown) < 1 << 15


def test_a_broken_package_is_named(own_process: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys; sys.modules['litert_torch'] = None; from edgecnn.formats.tflite.converter import main; main()"
    )
    monkeypatch.setattr(converter, "COMMAND", python_command(program))
    with pytest.raises(MissingError, match="litert-torch"):
        conversion.converted(small(), MODEL)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts what a process may write to on Linux only")
def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
from edgecnn.formats.tflite import converter
converter.memory_available_bytes = lambda: 100 << 20
converter.limit_memory()
kept = bytearray(50 << 20)
try:
    kept = bytearray(200 << 20)
except MemoryError:
    print("bounded")
"""
    done = subprocess.run(python_command(program), capture_output=True, text=True, check=True)
    assert done.stdout == "bounded\n"


COMMAND = """
import sys
from edgecnn.cli import failures
from edgecnn.formats.tflite import conversion, converter
from edgecnn.probe.python import python_command
from test_conversion import MODEL, small

SLEEP = "import os, sys, time; sys.stdin.read(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
converter.COMMAND = python_command(SLEEP, sys.argv[1])
failures.heed_sigterm()
sys.exit(failures.guard(lambda: conversion.converted(small(), MODEL), ["export"]))
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interruption_ends_the_command_and_the_process(number: signal.Signals, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    running = subprocess.Popen([sys.executable, "-c", COMMAND, str(note)], stderr=subprocess.PIPE, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (note.exists() and note.read_text()):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(number)
        _, complaint = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 128 + number and b"interrupted" in complaint
    assert not alive(int(note.read_text()))
    assert list(tmp_path.glob("edgecnn-*")) == []
