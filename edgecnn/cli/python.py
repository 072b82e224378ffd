"""Callers in Python: their progress is shown in a terminal or a notebook."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from edgecnn.cli import console, progress
from edgecnn.core.events import Listener, ignore

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def with_progress(workflow: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The workflow for a caller in Python: unless a `listener` is given, its progress is shown in a terminal or a
    notebook, and nowhere else."""
    if "listener" not in inspect.signature(workflow).parameters:
        return workflow

    @wraps(workflow)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
        if options.get("listener") is not None:
            return workflow(*arguments, **options)
        with _shown() as listener:
            return workflow(*arguments, **{**options, "listener": listener})  # type: ignore[arg-type]

    return call


@contextmanager
def _shown() -> Iterator[Listener]:
    if sys.stderr.isatty():
        with console.listener() as listener:
            yield listener
        return
    screen = console.rich_console(sys.stderr)
    if screen.is_jupyter and find_spec("ipywidgets") is not None:
        with progress.Bars(screen) as bars:
            yield bars.listener
    elif screen.is_jupyter:
        with progress.Lines(lambda text: print(text, file=sys.stderr)) as lines:  # noqa: T201 (a notebook's own stream)
            yield lines.listener
    else:
        yield ignore
