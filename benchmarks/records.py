"""What the scripts leave: a table on stdout and results/<name>.json with the machine it came from."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgecnn import __version__
from edgecnn.core.errors import EdgecnnError, InputError, MissingError
from edgecnn.core.events import Event, Progress
from edgecnn.core.store import write_atomically
from edgecnn.probe import facts

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "onnx", "onnxruntime", "litert-torch", "ai-edge-litert", "ai-edge-quantizer", "numpy")
PRIVATE = frozenset({"boot_id", "release", "machine_id_hash"})
"""Facts that identify one machine rather than its kind."""

WIDTH = None if sys.stdout.isatty() else 160
out, err = Console(width=WIDTH), Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure beside what it must reach."""

    what: str
    target: str
    found: str
    met: bool | None


def listener(event: Event) -> None:
    """Progress of long steps, on stderr, on a terminal only."""
    if isinstance(event, Progress) and err.is_terminal:
        err.print(f"\r{event.step} {event.done}/{event.total} {event.note:<40}", end="", highlight=False)
        if event.done == event.total:
            err.print()


def save(name: str, result: Mapping[str, Any], *, settings: Mapping[str, Any], goals: Sequence[Goal] = ()) -> Path:
    """Write results/<name>.json: the result, the goals, and the kind of machine, its load and versions."""
    RESULTS.mkdir(exist_ok=True)
    whole = {
        "benchmark": name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": facts.describe(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": versions(),
        "settings": dict(settings),
        "goals": [{"what": g.what, "target": g.target, "found": g.found, "met": g.met} for g in goals],
        "result": dict(result),
    }
    path = RESULTS / f"{name}.json"
    write_atomically(path, json.dumps(_public(whole), indent=1, ensure_ascii=False, default=str) + "\n")
    return path


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items() if key not in PRIVATE}
    return [_public(inner) for inner in value] if isinstance(value, list | tuple) else value


def versions() -> dict[str, str]:
    """Installed versions of what is measured."""
    found = {"edgecnn": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; the first column is text, the others are figures."""
    shown = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    out.print(shown)


def say(line: str) -> None:
    """What is being done, on stderr."""
    err.print(line, highlight=False, soft_wrap=True)


def print_goals(goals: Sequence[Goal]) -> None:
    words = {True: "met", False: "MISSED", None: "not measured"}
    table("goals", ("figure", "goal", "found", ""), [(g.what, g.target, g.found, words[g.met]) for g in goals])


def leave(main: Callable[[], None]) -> None:
    """Run a script; a problem with what it was given is one clear line and exit code 2."""
    try:
        main()
    except (InputError, MissingError) as error:
        _explain(error)
        sys.exit(2)
    except EdgecnnError as error:
        _explain(error)
        sys.exit(5)


def _explain(error: EdgecnnError) -> None:
    for label, text in (("", error.message), ("why: ", error.why), ("give: ", error.hint)):
        if text:
            err.print(f"{label}{text}", highlight=False, soft_wrap=True)
