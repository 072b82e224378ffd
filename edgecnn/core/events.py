"""What a running step tells whoever listens. Library code tells; only the console prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Started:
    step: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is. `fine` lies between units that are told too (steps in an epoch): for a display, not a log."""

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


def scoped(step: str, listener: Listener) -> Listener:
    """A listener for a step within `step`: its progress goes under that name, its own beginning and end unsaid."""

    def told(event: Event) -> None:
        if isinstance(event, Progress):
            listener(replace(event, step=step))
        elif isinstance(event, Warned):
            listener(event)

    return told


def ignore(event: Event) -> None:
    """A listener that does not listen."""
