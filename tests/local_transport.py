"""Local transport: a folder of this host as a board, with the same commands, agent and limits."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecnn.core.child_process import run_command
from edgecnn.core.errors import StepError
from edgecnn.measure.transport import Completed, Limits, OnLine, checked

NO_PROGRAM, NOT_RUNNABLE = 127, 126
"""What a shell says for a program that is absent, and for one that cannot be run."""
READ_S = 60.0


class LocalTransport:
    """A `Transport` whose board is the folder `home`, which is made."""

    def __init__(self, home: Path, *, name: str = "local") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home = home.resolve()
        self._name = name
        self._stop = threading.Event()

    def run(
        self, argv: Sequence[str], limits: Limits, *, stdin: bytes = b"", on_line: OnLine | None = None
    ) -> Completed:
        self._stop.clear()
        options: dict[str, Any] = {"name": self._name, "stdin": stdin, "on_line": on_line, "stop": self._stop}
        try:
            return run_command(argv, limits, cwd=self._home, env={**os.environ, "HOME": str(self._home)}, **options)
        except OSError as error:
            code = NO_PROGRAM if error.errno == errno.ENOENT else NOT_RUNNABLE
            return Completed(code, b"", f"{argv[0]}: {error.strerror}".encode())

    def put(self, source: Path, target: str) -> None:
        try:
            shutil.copyfile(source, self._home / checked(target))
        except OSError as error:
            raise StepError("cannot-copy", f"cannot copy {source.name} to {self._name}", why=str(error)) from error

    def get(self, source: str, *, limit_bytes: int) -> bytes:
        done = self.run(["cat", checked(source)], Limits(READ_S, limit_bytes))
        if done.code:
            raise StepError("cannot-copy", f"cannot read {source} on {self._name}", why=done.stderr.decode().strip())
        return done.stdout

    def abort(self) -> None:
        self._stop.set()

    def close(self) -> None:
        """There is no connection."""
