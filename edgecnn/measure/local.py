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

from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.probe_archive import probe_archive

TERM_GRACE_S = 5.0
EXIT_GRACE_S = 10.0
STDERR_LINES = 12
FORGOTTEN = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TF_NUM_", "ORT_")
"""A thread count is an explicit option; the environment must not have another opinion."""

Event = Mapping[str, Any]


def run_job(
    job: Mapping[str, Any], *, on_event: Callable[[Event], None] | None = None, timeout_s: float
) -> dict[str, Any]:
    """Run `job` in a fresh process of this Python; its `result` event as a dictionary.

    `on_event` gets every earlier event, in this thread. Raises MissingError for an absent runtime and StepError for
    the rest: the job's own error code, or probe-killed, probe-crashed, probe-timeout. The process group dies with the
    call.
    """
    with tempfile.TemporaryFile() as stderr:
        with _Running(
            [sys.executable, "-B", str(probe_archive())], json.dumps({**job, "die_with_parent": True}), stderr
        ) as running:
            last = running.listen(on_event, deadline=time.monotonic() + timeout_s)
        if last is None:
            raise StepError(
                "probe-timeout",
                f"{_title(job)} did not finish in {timeout_s:g} s",
                why=_tail(stderr),
                hint="try a smaller model or a quicker profile, for example --profile smoke",
            )
        return _answer(last, running.code, job, _tail(stderr))


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without thread counts."""
    return {key: value for key, value in environ.items() if not key.startswith(FORGOTTEN)}


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

    def listen(self, on_event: Callable[[Event], None] | None, *, deadline: float) -> dict[str, Any] | None:
        """The last event, `{}` when the process ended without one, None at the deadline."""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
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
        with contextlib.suppress(ProcessLookupError):
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
        raise _told(last, job)
    raise _died(code, job, stderr)


def _told(event: Mapping[str, Any], job: Mapping[str, Any]) -> EdgecnnError:
    family = MissingError if event["code"] == "missing-runtime" else StepError
    message = event["message"]
    if "model" in job and event["code"] != "missing-runtime":
        message = f"{message}: {job['model']}"
    return family(event["code"], message, why=event["why"], hint=event["hint"])


def _died(code: int | None, job: Mapping[str, Any], stderr: str) -> EdgecnnError:
    title = _title(job)
    if code == -9:
        return StepError(
            "probe-killed",
            f"{title} was killed, probably because memory ran out",
            why=stderr or "the process ended with signal 9 (SIGKILL)",
            hint="close other programs or add swap, then run again",
        )
    if code == -4:
        return StepError(
            "probe-crashed",
            f"{title} used an instruction that this CPU does not have (SIGILL)",
            why=stderr or "the runtime was built for a newer CPU",
            hint=f"install another version of {job.get('backend', 'the runtime')}",
        )
    how = _signal_name(code) if code is not None and code < 0 else f"exit code {code}"
    return StepError("probe-crashed", f"{title} ended without a result ({how})", why=stderr)


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _title(job: Mapping[str, Any]) -> str:
    return f"{job.get('backend', 'probe')} {job.get('verb', 'job')}"


def _tail(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 8192))
    return "\n".join(stream.read().decode(errors="replace").splitlines()[-STDERR_LINES:])
