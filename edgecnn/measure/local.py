"""Running a job on this host: a fresh process each time, a group of its own, never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.measure.probe_archive import probe_archive
from edgecnn.measure.received import told
from edgecnn.probe.ending import explain, tail
from edgecnn.probe.system import clean_environment

TERM_GRACE_S = 5.0
EXIT_GRACE_S = 10.0
STOP_S = 0.5
"""How soon a cancelled job ends."""

Event = Mapping[str, Any]


def run_job(
    job: Mapping[str, Any],
    *,
    on_event: Callable[[Event], None] | None = None,
    timeout_s: float,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run `job` in a fresh process of this Python; its `result` event as a dictionary.

    `on_event` gets every earlier event, in this thread. Raises MissingError for an absent runtime and StepError for
    the rest: the job's own error code, or probe-killed, wrong-instruction, probe-crashed, probe-timeout, or
    cancelled once another thread has set `stop`. The process group dies with the call.
    """
    with tempfile.TemporaryFile() as stderr:
        with _Running(
            [sys.executable, "-B", str(probe_archive())], json.dumps({**job, "die_with_parent": True}), stderr
        ) as running:
            last = running.listen(on_event, deadline=time.monotonic() + timeout_s, stop=stop or threading.Event())
        if last is None:
            raise StepError(
                "probe-timeout",
                f"{_title(job)} did not finish in {timeout_s:g} s",
                why=_tail(stderr),
                hint="try a smaller model or a quicker profile, for example --profile smoke",
            )
        return _answer(last, running.code, job, _tail(stderr))


class _Running:
    """A probe at work. Leaving the with-block, by whatever way, ends its process group and closes its pipes."""

    def __init__(self, argv: list[str], job: str, stderr: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=clean_environment(os.environ),
            start_new_session=True,
        )
        self._said_last = False
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._pump = threading.Thread(target=self._carry, args=(job.encode(),), daemon=True)
        self._pump.start()

    @property
    def code(self) -> int | None:
        return self._process.returncode

    def listen(
        self, on_event: Callable[[Event], None] | None, *, deadline: float, stop: threading.Event
    ) -> dict[str, Any] | None:
        """The last event, `{}` when the process ended without one, None at the deadline."""
        while True:
            left_s = deadline - time.monotonic()
            if stop.is_set():
                raise StepError("cancelled", "the job was cancelled")
            try:
                line = self._lines.get(timeout=max(0.0, min(left_s, STOP_S)))
            except queue.Empty:
                if left_s <= STOP_S:
                    return None
                continue
            event = _event(line)
            if event is None or event["event"] in ("result", "error"):
                self._said_last = True
                return event or {}
            if on_event is not None:
                on_event(event)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._process.wait(EXIT_GRACE_S if self._said_last else 0)
        except subprocess.TimeoutExpired:
            self._end()
        self._pump.join(EXIT_GRACE_S)

    def _carry(self, job: bytes) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with contextlib.suppress(OSError), stdin:
            stdin.write(job)
        with contextlib.suppress(OSError), stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _end(self) -> None:
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


def _event(line: bytes | None) -> dict[str, Any] | None:
    """One line as an event; None at the end of the stream, which may have been cut within a line."""
    try:
        return dict(json.loads(line)) if line is not None else None
    except ValueError:
        return None


def _answer(last: dict[str, Any], code: int | None, job: Mapping[str, Any], stderr: str) -> dict[str, Any]:
    if last.get("event") == "result":
        return {key: value for key, value in last.items() if key not in ("seq", "event")}
    if last.get("event") == "error":
        raise told(last, subject=str(job.get("model", "")))
    raise _died(code, job, stderr)


def _title(job: Mapping[str, Any]) -> str:
    return f"{job.get('backend', 'probe')} {job.get('verb', 'job')}"


def _died(code: int | None, job: Mapping[str, Any], stderr: str) -> EdgecnnError:
    died = explain(code or 0, title=_title(job), backend=str(job.get("backend", "")), log=stderr)
    return told(died.to_dict())


def _tail(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 8192))
    return tail(stream.read())
