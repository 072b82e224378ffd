"""Events to the host: one JSON object a line, numbered; whatever a runtime prints goes to stderr instead."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


class Events:
    """Numbered lines on a stream; the last one is `result` or `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0

    def send(self, event: str, **fields: Any) -> None:
        line = json.dumps(dict(fields, seq=self._next, event=event), allow_nan=False)
        self._next += 1
        self._stream.write(line + "\n")
        self._stream.flush()

    def note(self, event: str, **fields: Any) -> None:
        """A line of the agent's own, which has no number."""
        self.pass_on(json.dumps(dict(fields, event=event, agent=True), allow_nan=False) + "\n")

    def pass_on(self, line: str) -> None:
        """A line of a job's, with the number that it has there."""
        self._stream.write(line)
        self._stream.flush()


def take_stdout() -> Events:
    """Keep stdout for events. Native libraries that write to descriptor 1 land on stderr and cannot tear a line."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    return Events(os.fdopen(kept, "w", encoding="utf-8"))
