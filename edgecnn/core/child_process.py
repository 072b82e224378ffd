"""Child processes: each in a group of its own that ends with the call, within limits of time and of bytes."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from edgecnn.core.errors import StepError
from edgecnn.core.third_party import printable

CHUNK = 1 << 16
LARGEST_LINE = 1 << 20
KEPT_STDERR = 1 << 14
SHOWN_LINES = 12
LARGEST_STDERR = 1 << 20
POLL_S = 0.5
"""How soon a cancelled command ends."""
PIPES_S = 1.0
"""How long pipes may stay open after the process has ended: another process may hold them."""
TERM_GRACE_S = 5.0
EXIT_GRACE_S = 10.0
"""For a process that has said all that was wanted to end by itself."""

OnLine = Callable[[bytes], object]
"""Called with each line of stdout as it comes; True means that nothing more is wanted."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended: its exit code, negative for a signal; its stdout, and the end of its stderr."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole and of silence; bytes of stdout, of one line of it, and of stderr."""

    timeout_s: float
    stdout_bytes: float = math.inf
    silence_s: float = math.inf
    line_bytes: float = LARGEST_LINE
    stderr_bytes: float = LARGEST_STDERR


def run_command(
    argv: Sequence[str],
    limits: Limits,
    *,
    name: str,
    stdin: bytes | Callable[[], bytes] = b"",
    on_line: OnLine | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> Completed:
    """Run a command and wait for it; whatever leaves this call early ends its process group.

    With `on_line` stdout goes there, in this thread, and `Completed.stdout` is empty. `name` is whom errors are about.
    A function as `stdin` is called once the process has started: what it prepares and the start go on side by side.
    Raises OSError when the program cannot be started, and StepError: cancelled once `stop` is set, board-timeout,
    board-silent, board-sent-too-much.
    """
    chunks: list[bytes] = []
    feed = chunks.append if on_line is None else _Lines(name, on_line, limits.line_bytes)
    with _Child(argv, limits, cwd=cwd, env=env) as child:
        child.send(stdin if isinstance(stdin, bytes) else stdin())
        heard = time.monotonic()
        deadline = heard + limits.timeout_s
        for stream, chunk in child.read():
            now = time.monotonic()
            if stop is not None and stop.is_set():
                raise StepError("cancelled", f"{name}: cancelled")
            if now > deadline:
                why = last_lines(child.stderr)
                raise StepError("board-timeout", f"{name} was not done after {limits.timeout_s:g} s", why=why)
            heard = now if stream else heard
            if now - heard > limits.silence_s:
                raise StepError("board-silent", f"{name} has said nothing for {limits.silence_s:g} s")
            if child.flooded_bytes is not None:
                raise_too_much(name, child.flooded_bytes)
            if stream == "stdout" and feed(chunk):
                break
    return Completed(child.code, b"".join(chunks), child.stderr)


def last_lines(log: bytes) -> str:
    """The end of what a process wrote, as text that a terminal may show."""
    return printable("\n".join(log.decode("utf-8", "replace").splitlines()[-SHOWN_LINES:]))


class _Lines:
    """Cuts a stream into lines; calling it with a chunk says whether `on_line` wants no more."""

    def __init__(self, name: str, on_line: OnLine, line_bytes: float) -> None:
        self._name = name
        self._on_line = on_line
        self._line_bytes = line_bytes
        self._partial = bytearray()

    def __call__(self, chunk: bytes) -> bool:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._check(len(self._partial) + len(line))
            whole = bytes(self._partial) + line
            self._partial.clear()
            if self._on_line(whole) is True:
                return True
        self._check(len(self._partial) + len(rest))
        self._partial += rest
        return False

    def _check(self, length: int) -> None:
        if length > self._line_bytes:
            raise_too_much(self._name, self._line_bytes)


def raise_too_much(name: str, limit_bytes: float) -> NoReturn:
    """A board that says more than the answer can have is not believed, and not stored."""
    raise StepError("board-sent-too-much", f"{name} sent more than {limit_bytes} bytes where less was asked for")


class _Child:
    """The process, and three threads that keep its pipes moving. Leaving the with-block ends its group."""

    def __init__(
        self,
        argv: Sequence[str],
        limits: Limits,
        *,
        cwd: Path | None,
        env: Mapping[str, str] | None,
    ) -> None:
        self._queue: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.stderr = b""
        self.flooded_bytes: float | None = None
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin = self._process.stdin
        for target, args in (
            (self._carry, ("stdout", self._process.stdout, limits.stdout_bytes)),
            (self._carry, ("stderr", self._process.stderr, limits.stderr_bytes)),
        ):
            threading.Thread(target=target, args=args, daemon=True).start()

    def send(self, content: bytes) -> None:
        """Everything that the process reads, whenever it does."""
        threading.Thread(target=self._write, args=(self._stdin, content), daemon=True).start()

    @property
    def code(self) -> int:
        return self._process.wait()

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Chunks of either stream until both end and the process has; ("", b"") now and then."""
        open_streams = {"stdout", "stderr"}
        ended_at: float | None = None
        while open_streams or ended_at is None:
            try:
                stream, chunk = self._queue.get(timeout=POLL_S if open_streams and ended_at is None else 0.05)
            except queue.Empty:
                stream, chunk = "", b""
            if ended_at is None and self._process.poll() is not None:
                ended_at = time.monotonic()
            if stream and not chunk:
                open_streams.discard(stream)
            elif not stream and ended_at is not None and time.monotonic() - ended_at > PIPES_S:
                return
            else:
                yield stream, chunk

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *error: object) -> None:
        """At once when the process has ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if any(error) else EXIT_GRACE_S)
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS, of a group that has ended
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.kill()

    @staticmethod
    def _write(pipe: IO[bytes], content: bytes) -> None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(content)

    def _carry(self, name: str, pipe: IO[bytes], limit_bytes: float) -> None:
        """Stops at the limit: the rest stays with the sender."""
        carried = 0
        with contextlib.suppress(OSError), pipe:
            while chunk := os.read(pipe.fileno(), CHUNK):
                carried += len(chunk)
                if name == "stderr":
                    self.stderr = (self.stderr + chunk)[-KEPT_STDERR:]
                if carried > limit_bytes:
                    self.flooded_bytes = limit_bytes
                    self._queue.put(("", b""))
                    return
                self._queue.put((name, chunk))
        self._queue.put((name, b""))
