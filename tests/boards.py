"""Boards whose way is a folder of this host, and what goes wrong on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_transport import LocalTransport

from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.measure.board import Board

MakeBoard = Callable[..., Board]
HANGING = (
    "import os, signal, subprocess, time\n"
    "child = subprocess.Popen(['sleep', '60'])\n"
    "open({note!r} + '.part', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
    "os.rename({note!r} + '.part', {note!r})\n"
    "time.sleep(60)\n"
)


def failing(board: Board, job: dict[str, Any], *, timeout_s: float = 30.0, **files: Path) -> EdgecnnError:
    with pytest.raises(EdgecnnError) as caught:
        board.run(job, files=files, outputs={}, timeout_s=timeout_s)
    return caught.value


class Cutting(LocalTransport):
    """Ends the call when the `after`-th event has come, as a cut cable does; `times` times."""

    def __init__(self, home: Path, *, after: int, times: int = 1) -> None:
        super().__init__(home)
        self._after = after
        self._times = times
        self.verbs: list[str] = []

    def run(self, argv: Any, limits: Any, **options: Any) -> Any:
        on_line, seen = options.get("on_line"), 0
        request = json.loads(options["stdin"]) if on_line else {}
        self.verbs.append(request.get("verb", argv[0]))

        def counted(line: bytes) -> None:
            nonlocal seen
            on_line(line)
            seen += b'"result"' not in line
            if seen == self._after and self._times and request["verb"] in ("start", "follow"):
                self._times -= 1
                raise StepError("connection-lost", "cut")

        return super().run(argv, limits, **{**options, "on_line": counted if on_line else None})
