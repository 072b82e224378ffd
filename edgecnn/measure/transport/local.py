"""A folder of this host as if it were a board: the same commands, agent and limits, without a network."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecnn.core.errors import StepError
from edgecnn.measure.transport import checked
from edgecnn.measure.transport.command import Commands, Done, Limits

NO_PROGRAM, NOT_RUNNABLE = 127, 126
"""What a shell says for a program that is absent, and for one that cannot be run."""
READ_S = 60.0


class LocalTransport:
    """A `Transport` whose board is the folder `home`, which is made."""

    def __init__(self, home: Path, *, name: str = "local") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home = home.resolve()
        self._name = name
        self._commands = Commands(name)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float,
        silence_s: float | None = None,
        on_line: Callable[[bytes], None] | None = None,
        limit_bytes: int,
    ) -> Done:
        limits = Limits(timeout_s, limit_bytes, silence_s)
        env = {**os.environ, "HOME": str(self._home)}
        try:
            return self._commands.run(argv, limits, stdin=stdin, on_line=on_line, cwd=self._home, env=env)
        except OSError as error:
            code = NO_PROGRAM if error.errno == errno.ENOENT else NOT_RUNNABLE
            return Done(code, b"", f"{argv[0]}: {error.strerror}".encode())

    def put(self, source: Path, target: str) -> None:
        try:
            shutil.copyfile(source, self._home / checked(target))
        except OSError as error:
            raise StepError("cannot-copy", f"cannot copy {source.name} to {self._name}", why=str(error)) from error

    def get(self, source: str, *, limit_bytes: int) -> bytes:
        done = self.run(["cat", checked(source)], timeout_s=READ_S, limit_bytes=limit_bytes)
        if done.code:
            raise StepError("cannot-copy", f"cannot read {source} on {self._name}", why=done.stderr.decode().strip())
        return done.stdout

    def abort(self) -> None:
        self._commands.abort()

    def close(self) -> None:
        """There is no connection."""
