"""Events of a running step as bars on a terminal, or as sparse plain lines. `console.listener` chooses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgecnn.core.events import Event, Finished, Progress, Started, Warned
from edgecnn.core.units import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

LINE_EVERY_S = 10.0
"""A plain log gets at most one progress line per step in this time."""
WIDE = 100
"""Columns from which there is room for a bar beside the words."""


class _Seen:
    """Says each warning once: the same layer is often warned about by several steps."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()

    def first(self, event: Warned) -> bool:
        key = (event.code, event.message)
        new = key not in self._shown
        self._shown.add(key)
        return new


class Lines:
    """One line per finished step, a progress line every ten seconds, warnings as they come."""

    def __init__(
        self, write: Callable[[str], None], *, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ):
        self._write = write
        self._verbose = verbose
        self._clock = clock
        self._last: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._seen = _Seen()
        self._lock = threading.Lock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is not None:
            for step, began in self._began.items():
                self._write(f"{step}: stopped after {duration(self._clock() - began)}")

    def listener(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Started):
                self._began[event.step] = self._last[event.step] = self._clock()
                if self._verbose:
                    self._write(f"{event.step}: started")
            elif isinstance(event, Progress):
                self._progress(event)
            elif isinstance(event, Finished):
                self._began.pop(event.step, None)
                self._write(f"{event.step}: {_outcome(event)}")
            elif self._seen.first(event):
                self._write(f"warning[{event.code}]: {event.message}")
                if event.hint:
                    self._write(f"  hint: {event.hint}")

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        if event.fine:
            return
        # An epoch is worth its line however short it was.
        if now - self._last.setdefault(event.step, now) >= LINE_EVERY_S or event.unit == "epoch":
            self._last[event.step] = now
            self._write(f"{event.step}: {_count(event)}{f'  {event.note}' if event.note else ''}")


class Bars:
    """A live line per running step; a finished step stays above as one line with a tick and its time."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Live

        self._console = console
        bar = BarColumn(bar_width=24, complete_style="cyan", finished_style="cyan", pulse_style="dim cyan")
        self._live = Live(
            SpinnerColumn(style="cyan", finished_text=" "),
            TextColumn("{task.description}", markup=False),
            # Where the line is short, the words say more.
            *([bar] if console.width >= WIDE else []),
            TextColumn("{task.fields[count]}", markup=False, style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._seen = _Seen()
        self._lock = threading.Lock()

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        for step in list(self._tasks):
            self._drop(step)
            if kind is not None:
                self._say(("✗", "red"), step, f"stopped after {duration(time.monotonic() - self._began[step])}")
        self._live.stop()

    def listener(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Started):
                self._task(event.step)
            elif isinstance(event, Progress):
                count = event.note if event.fine else f"{_count(event)}{f'  {event.note}' if event.note else ''}"
                self._live.update(self._task(event.step), completed=event.done, total=event.total or None, count=count)
            elif isinstance(event, Finished):
                self._drop(event.step)
                self._say(("✓", "green"), event.step, _outcome(event))
            elif self._seen.first(event):
                self._warn(event)

    def _task(self, step: str) -> TaskID:
        if step not in self._tasks:
            self._began[step] = time.monotonic()
            self._tasks[step] = self._live.add_task(step, total=None, count="")
        return self._tasks[step]

    def _drop(self, step: str) -> None:
        task = self._tasks.pop(step, None)
        if task is not None:
            self._live.remove_task(task)

    def _say(self, mark: tuple[str, str], step: str, outcome: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(mark, f" {step}  ", (outcome, "dim")))

    def _warn(self, event: Warned) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Text.assemble(("! ", "bold yellow"), (event.message, "yellow")))
        if event.hint:
            self._console.print(Padding(Text(event.hint, style="dim"), (0, 0, 0, 2)))


def _count(event: Progress) -> str:
    total = f"/{event.total}" if event.total else ""
    return f"{event.done}{total}{f' {event.unit}' if event.unit else ''}"


def _outcome(event: Finished) -> str:
    time_taken = "(cached)" if event.cached else duration(event.seconds)
    return f"{time_taken}  {event.note}" if event.note else time_taken
