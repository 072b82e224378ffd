"""Results go to stdout, everything else to stderr; without a terminal the lines are plain and few."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgecnn.cli import console, progress
from edgecnn.core.events import Finished, Progress, Started, Warned

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _usual_settings() -> Iterator[None]:
    console.configure()
    yield
    console.configure()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_result_goes_to_stdout_and_a_note_to_stderr(capsys: Captured) -> None:
    console.result("[bold]result[/bold]")
    console.note("note")
    assert capsys.readouterr() == ("[bold]result[/bold]\n", "note\n")


def test_a_table_without_a_terminal_is_plain_and_wide(capsys: Captured) -> None:
    table = Table("a", "b")
    table.add_row("x" * 50, "y" * 50, style="red")
    console.result(table)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "x" * 50 in out
    assert "y" * 50 in out
    assert not any(line != line.rstrip() for line in out.splitlines())


def test_json_is_one_document(capsys: Captured) -> None:
    console.json(
        {"path": Path("a/b"), "nan": float("nan"), "array": np.float32([1, 2]), "set": {2, 1}, "event": Started("x")}
    )
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "a/b", "nan": None, "array": [1, 2], "set": [1, 2], "event": {"step": "x"}}
    assert err == ""


def test_a_stream_that_cannot_spell_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii(StringIO):
        encoding = "ascii"

    stream = Ascii()
    monkeypatch.setattr("sys.stdout", stream)
    console.result("✓ done")
    assert stream.getvalue() == "? done\n"


def test_lines_one_per_finished_step(capsys: Captured) -> None:
    with console.listener() as listener:
        listener(Started("export onnx"))
        listener(Progress("export onnx", 1, 3))
        listener(Finished("export onnx", 3.14159))
        listener(Finished("quantize onnx", 0.0, cached=True))
        listener(Warned("narrow-range", "a range is narrow", hint="look"))
        listener(Warned("narrow-range", "a range is narrow", hint="look"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "export onnx: 3.1 s",
        "quantize onnx: (cached)",
        "warning[narrow-range]: a range is narrow",
        "  hint: look",
    ]


def test_control_characters_are_not_passed_on(capsys: Captured) -> None:
    table = Table("a")
    table.add_row("x\x1b[2Jy")
    console.result("x\x1b[2Jy")
    console.result(table)
    console.note("x\x1b[2Jy")
    with console.listener() as listener:
        listener(Warned("odd\x1b", "x\x1b[2Jy", hint="\x9b1m"))
    out, err = capsys.readouterr()
    assert out.count("x[2Jy") == 2 and err.count("x[2Jy") == 2
    assert not any(character in out + err for character in "\x1b\x9b")


def test_on_a_terminal_only_our_own_colours_are_left() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    sink = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", sink)
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("NO_COLOR", raising=False)
        console.result(Text("x\x1b[2Jy", "bold"))
    assert sink.getvalue() == "\x1b[1mx[2Jy\x1b[0m\n"


def test_progress_lines_are_ten_seconds_apart() -> None:
    said: list[str] = []
    clock = Clock()
    with progress.Lines(said.append, clock=clock) as lines:
        lines.listener(Started("calibrate"))
        for done in range(1, 26):
            clock.now += 1.0
            lines.listener(Progress("calibrate", done, 25, unit="images"))
    assert said == ["calibrate: 10/25 images", "calibrate: 20/25 images"]


def test_a_step_that_was_stopped_says_so() -> None:
    said: list[str] = []
    clock = Clock()
    with pytest.raises(ValueError, match="no"), progress.Lines(said.append, clock=clock) as lines:
        lines.listener(Started("calibrate"))
        clock.now = 75.0
        raise ValueError("no")
    assert said == ["calibrate: stopped after 1 min 15 s"]


def test_quiet_leaves_results_only(capsys: Captured) -> None:
    console.configure(quiet=True)
    with console.listener() as listener:
        listener(Finished("export onnx", 3.0))
    console.note("note")
    console.result("result")
    assert capsys.readouterr() == ("result\n", "")


def test_verbose_says_when_a_step_starts(capsys: Captured) -> None:
    console.configure(verbose=True)
    with console.listener() as listener:
        listener(Started("export onnx"))
    assert capsys.readouterr().err == "export onnx: started\n"


def test_bars_leave_a_line_per_finished_step() -> None:
    sink = StringIO()
    with progress.Bars(Console(file=sink, force_terminal=True, width=80, color_system=None, markup=False)) as bars:
        bars.listener(Started("export onnx"))
        bars.listener(Progress("export onnx", 1, 3, unit="layers"))
        bars.listener(Finished("export onnx", 3.1))
        bars.listener(Finished("quantize onnx", 0.0, cached=True))
        bars.listener(Warned("narrow-range", "a range is narrow"))
    page = sink.getvalue()
    for line in ("✓ export onnx  3.1 s", "✓ quantize onnx  (cached)", "! a range is narrow"):
        assert line in page
