"""Events of a running step, and listeners for them. Library code sends events; only the console prints."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Started:
    step: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is. `fine` lies between units that are sent too (steps in an epoch): for a display, not a log."""

    step: str
    done: int
    total: int
    unit: str = ""
    note: str = ""
    fine: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    step: str
    seconds: float
    cached: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    code: str
    message: str
    hint: str = ""


Event = Started | Progress | Finished | Warned
Listener = Callable[[Event], None]


def scoped(
    listener: Listener,
    step: str = "",
    *,
    note: str = "",
    drop: Container[str] = (),
    on_warning: Callable[[Warned], None] | None = None,
) -> Listener:
    """A listener for a part of the work that `listener` follows.

    With `step` its progress goes under that name, and its own beginning and end are left out. `note` goes before the
    notes of its progress. Warnings whose code is in `drop` are left out; every other goes to `on_warning` too.
    """

    def on_event(event: Event) -> None:
        if isinstance(event, Warned):
            if event.code in drop:
                return
            if on_warning is not None:
                on_warning(event)
        elif isinstance(event, Progress):
            event = replace(event, step=step or event.step, note=", ".join(filter(None, (note, event.note))))
        elif step:
            return
        listener(event)

    return on_event


@contextlib.contextmanager
def timed(listener: Listener, step: str) -> Iterator[None]:
    """Tell `listener` that `step` begins, and, unless it raises, that it is finished and how long it took."""
    began = time.monotonic()
    listener(Started(step))
    yield
    listener(Finished(step, time.monotonic() - began))


def ignore(event: Event) -> None:
    """A listener that does not listen."""
