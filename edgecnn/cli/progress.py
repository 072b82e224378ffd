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


class _Display:
    """What lines and bars share: when each running step began, and each warning once, though several steps give it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._warnings: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def listener(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Started):
                self._start(event.step)
            elif isinstance(event, Progress):
                self._progress(event)
            elif isinstance(event, Finished):
                self._finish(event)
            elif (warning := (event.code, event.message)) not in self._warnings:
                self._warnings.add(warning)
                self._warn(event)

    def _stopped(self, step: str) -> str:
        return f"stopped after {duration(self._clock() - self._began[step])}"

    def _start(self, step: str) -> None: ...

    def _progress(self, event: Progress) -> None: ...

    def _finish(self, event: Finished) -> None: ...

    def _warn(self, event: Warned) -> None: ...


class Lines(_Display):
    """One line per finished step, a progress line every ten seconds, warnings as they come."""

    def __init__(
        self, write: Callable[[str], None], *, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ):
        super().__init__(clock)
        self._write = write
        self._verbose = verbose
        self._last: dict[str, float] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is not None:
            for step in self._began:
                self._write(f"{step}: {self._stopped(step)}")

    def _start(self, step: str) -> None:
        self._began[step] = self._last[step] = self._clock()
        if self._verbose:
            self._write(f"{step}: started")

    def _finish(self, event: Finished) -> None:
        self._began.pop(event.step, None)
        self._write(f"{event.step}: {_outcome(event)}")

    def _warn(self, event: Warned) -> None:
        self._write(f"warning[{event.code}]: {event.message}")
        if event.hint:
            self._write(f"  hint: {event.hint}")

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        if event.fine:
            return
        # Every epoch has its line, however short it was.
        if now - self._last.setdefault(event.step, now) >= LINE_EVERY_S or event.unit == "epoch":
            self._last[event.step] = now
            self._write(f"{event.step}: {_count(event)}")


class Bars(_Display):
    """A live line per running step; a finished step stays above as one line with a tick and its time."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Live

        super().__init__()
        self._console = console
        bar = BarColumn(bar_width=24, complete_style="cyan", finished_style="cyan", pulse_style="dim cyan")
        self._live = Live(
            SpinnerColumn(style="cyan", finished_text=" "),
            TextColumn("{task.description}", markup=False),
            # On a narrow terminal the words have the room.
            *([bar] if console.width >= WIDE else []),
            TextColumn("{task.fields[count]}", markup=False, style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        for step in list(self._tasks):
            self._drop(step)
            if kind is not None:
                self._print(("✗", "red"), step, self._stopped(step))
        self._live.stop()

    def _start(self, step: str) -> None:
        self._task(step)

    def _progress(self, event: Progress) -> None:
        count = event.note if event.fine else _count(event)
        self._live.update(self._task(event.step), completed=event.done, total=event.total or None, count=count)

    def _finish(self, event: Finished) -> None:
        self._drop(event.step)
        self._print(("✓", "green"), event.step, _outcome(event))

    def _task(self, step: str) -> TaskID:
        if step not in self._tasks:
            self._began[step] = self._clock()
            self._tasks[step] = self._live.add_task(step, total=None, count="")
        return self._tasks[step]

    def _drop(self, step: str) -> None:
        task = self._tasks.pop(step, None)
        if task is not None:
            self._live.remove_task(task)

    def _print(self, mark: tuple[str, str], step: str, outcome: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(mark, f" {step}  ", (outcome, "dim")))

    def _warn(self, event: Warned) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Text.assemble(("! ", "bold yellow"), (event.message, "yellow")))
        if event.hint:
            self._console.print(Padding(Text(event.hint, style="dim"), (0, 0, 0, 2)))


def _count(event: Progress) -> str:
    """How far a step is, and its note: `3/10 epoch  top-1 91.2 %`."""
    total = f"/{event.total}" if event.total else ""
    count = f"{event.done}{total} {event.unit}".rstrip()
    return f"{count}  {event.note}" if event.note else count


def _outcome(event: Finished) -> str:
    time_taken = "(cached)" if event.cached else duration(event.seconds)
    return f"{time_taken}  {event.note}" if event.note else time_taken
