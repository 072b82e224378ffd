"""A child process that cannot outlive its call, outlast its time or flood this host."""

from __future__ import annotations

import contextlib
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

CHUNK = 1 << 16
LARGEST_LINE = 1 << 20
KEPT_STDERR = 1 << 14
LARGEST_STDERR = 1 << 20
LOOK_EVERY_S = 0.5
LEAVE_S = 1.0
"""For a process to follow SIGTERM, and for its pipes to close after it has ended."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code, negative for a signal; what it wrote, of stderr the end."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole and without a word, and bytes of stdout."""

    timeout_s: float
    limit_bytes: int
    silence_s: float | None = None


class Commands:
    """Runs commands, one at a time, each in a process group of its own. `name` is whom errors are about."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: _Running | None = None
        self._aborted = False

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        *,
        stdin: bytes = b"",
        on_line: Callable[[bytes], None] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """As `Transport.run`; raises OSError when the program cannot be started."""
        self._aborted = False
        with _Running(argv, stdin, cwd=cwd, env=env, limit_bytes=limits.limit_bytes) as running:
            self._running = running
            try:
                return self._listen(running, limits, on_line)
            finally:
                self._running = None

    def abort(self) -> None:
        self._aborted = True
        running = self._running
        if running is not None:
            running.wake()

    def _listen(self, running: _Running, limits: Limits, on_line: Callable[[bytes], None] | None) -> Done:
        kept: list[bytes] = []
        lines = None if on_line is None else Lines(self._name, on_line)
        deadline = time.monotonic() + limits.timeout_s
        heard = time.monotonic()
        for stream, chunk in running.chunks():
            now = time.monotonic()
            if self._aborted:
                raise StepError("cancelled", f"{self._name}: cancelled")
            if now > deadline:
                raise StepError("board-timeout", f"{self._name} was not done after {limits.timeout_s:g} s")
            if stream:
                heard = now
            elif limits.silence_s is not None and now - heard > limits.silence_s:
                raise StepError("board-silent", f"{self._name} has said nothing for {limits.silence_s:g} s")
            if running.flooded_bytes:
                too_much(self._name, running.flooded_bytes)
            if stream == "stdout" and lines is not None:
                lines.take(chunk)
            elif stream == "stdout":
                kept.append(chunk)
        return Done(running.code, b"".join(kept), running.stderr)


class Lines:
    """Cuts a stream into lines."""

    def __init__(self, name: str, on_line: Callable[[bytes], None]) -> None:
        self._name = name
        self._on_line = on_line
        self._partial = bytearray()

    def take(self, chunk: bytes) -> None:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            self._check(len(self._partial) + len(line))
            self._on_line(bytes(self._partial) + line)
            self._partial.clear()
        self._check(len(self._partial) + len(rest))
        self._partial += rest

    def _check(self, length: int) -> None:
        if length > LARGEST_LINE:
            too_much(self._name, LARGEST_LINE)


def too_much(name: str, limit_bytes: int) -> NoReturn:
    """A board that says more than the answer can have is not believed, and not stored."""
    raise StepError("board-sent-too-much", f"{name} sent more than {limit_bytes} bytes where less was asked for")


class _Running:
    """The process, and three threads that keep its pipes moving. Leaving the with-block ends its group."""

    def __init__(
        self, argv: Sequence[str], stdin: bytes, *, cwd: Path | None, env: Mapping[str, str] | None, limit_bytes: int
    ) -> None:
        self._queue: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.stderr = b""
        self.flooded_bytes = 0
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
        for target, args in (
            (self._write, (self._process.stdin, stdin)),
            (self._read, ("stdout", self._process.stdout, limit_bytes)),
            (self._read, ("stderr", self._process.stderr, LARGEST_STDERR)),
        ):
            threading.Thread(target=target, args=args, daemon=True).start()

    @property
    def code(self) -> int:
        return self._process.wait()

    def wake(self) -> None:
        self._queue.put(("", b""))

    def chunks(self) -> Iterator[tuple[str, bytes]]:
        """What is read of either stream until both end and the process has; ("", b"") now and then.

        A process of somebody else may hold the streams open: they get a second when this one has ended.
        """
        open_streams = {"stdout", "stderr"}
        ended_at: float | None = None
        while open_streams or ended_at is None:
            try:
                stream, chunk = self._queue.get(timeout=LOOK_EVERY_S if open_streams and ended_at is None else 0.05)
            except queue.Empty:
                stream, chunk = "", b""
            if ended_at is None and self._process.poll() is not None:
                ended_at = time.monotonic()
            if stream and not chunk:
                open_streams.discard(stream)
            elif not stream and ended_at is not None and time.monotonic() - ended_at > LEAVE_S:
                return
            else:
                yield stream, chunk

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *error: object) -> None:
        """At once when the process has ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if any(error) else LEAVE_S)
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.kill()

    @staticmethod
    def _write(pipe: IO[bytes], content: bytes) -> None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(content)

    def _read(self, name: str, pipe: IO[bytes], limit_bytes: int) -> None:
        """Stops at the limit: what nobody takes stays with the sender."""
        taken = 0
        with contextlib.suppress(OSError), pipe:
            while chunk := os.read(pipe.fileno(), CHUNK):
                taken += len(chunk)
                if name == "stderr":
                    self.stderr = (self.stderr + chunk)[-KEPT_STDERR:]
                if taken > limit_bytes:
                    self.flooded_bytes = limit_bytes
                    self._queue.put(("", b""))
                    return
                self._queue.put((name, chunk))
        self._queue.put((name, b""))
