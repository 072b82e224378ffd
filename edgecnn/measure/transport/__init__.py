"""Transport to a board: runs commands and copies files there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgecnn.core.child_process import Completed, Limits, OnLine
from edgecnn.core.errors import InputError

__all__ = ["Completed", "Limits", "OnLine", "Transport", "checked"]

SAFE = re.compile(r"[A-Za-z0-9._/][A-Za-z0-9._/-]*")


class Transport(Protocol):
    """Commands start in the home folder of the board, and relative paths begin there.

    Everything raises MissingError when there is no way to the board (ssh-missing, ssh-refused, ssh-key-missing,
    host-key-unknown, host-key-changed) and StepError connection-lost when there is none any more.
    """

    def run(
        self, argv: Sequence[str], limits: Limits, *, stdin: bytes = b"", on_line: OnLine | None = None
    ) -> Completed:
        """Run a command and wait for it.

        With `on_line` each line of its stdout goes there as it comes, in this thread, and `Completed.stdout` is empty.
        Whatever leaves this call early ends the command. Raises StepError board-sent-too-much, board-timeout or
        board-silent where it goes beyond `limits`.
        """

    def put(self, source: Path, target: str) -> None:
        """Copy a file there. Raises StepError cannot-copy."""

    def get(self, source: str, *, limit_bytes: int) -> bytes:
        """The content of a file there. Raises StepError board-sent-too-much, or cannot-copy when there is none."""

    def abort(self) -> None:
        """End the command that another thread has running; its call raises StepError cancelled."""

    def close(self) -> None:
        """Leave no process and no file of the connection behind; safe to call twice."""


def checked(path: str) -> str:
    """A path for the board, which no shell and no scp there reads otherwise. Raises InputError bad-path."""
    if SAFE.fullmatch(path) is None:
        raise InputError("bad-path", f"not a path for a board: {path!r}", why="letters, digits and . _ - / are")
    return path
