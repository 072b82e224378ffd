"""Supervisor: the process that stays on the board without a connection; it owns lock, worker and end of the job."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from . import ending, system
from .errors import ProbeError, first_line
from .jobs import EventLog, JobFolder, disk_full, only_job

if TYPE_CHECKING:
    from collections.abc import Iterator

TERM_GRACE_S = 5.0
EXIT_GRACE_S = 10.0
LOOK_EVERY_S = 5.0
"""How often it is looked whether anybody still follows."""
LARGEST_EVENT = 1 << 19
LARGEST_LOG = 1 << 20
KEPT_WORDS = 8192
CHUNK = 1 << 16


def supervise(job: JobFolder, *, archive: str) -> None:
    """Run the job of a folder to its end and leave `result.json` there."""
    request = job.request()
    with _Signals() as signals:
        try:
            log = EventLog(job.at("events.jsonl"))
            holder = {"host": request.get("client", "?"), "job": job.name}

            def on_wait(other: dict[str, Any] | None) -> None:
                if other is not None:
                    log.append({"event": "waiting", "agent": True, "holder": other})
                signals.raise_if_told()

            with only_job(job.root, holder, float(request.get("lock_wait_s", 0)), on_wait):
                final = _Worker(job, request, log, signals).run(archive)
        except ProbeError as error:
            final = dict(error.to_dict(), event="error")
        except OSError as error:
            failure = disk_full(job.root, error) if system.is_full(job.root, error) else _failed(error)
            final = dict(failure.to_dict(), event="error")
        except Exception as error:  # the host must learn of it, whatever it is
            final = dict(_failed(error).to_dict(), event="error")
        job.finish(final)


def detach(job: JobFolder, alive: int, *, archive: str) -> None:
    """Start `supervise` as a process of its own session that holds nothing of this one but the lock `alive`."""
    first = os.fork()
    if first:
        os.close(alive)
        os.waitpid(first, 0)
        return
    status = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _let_go(keep=alive)
        os.ftruncate(alive, 0)
        os.pwrite(alive, str(os.getpid()).encode(), 0)
        supervise(job, archive=archive)
        status = 0
    finally:
        os._exit(status)


def _let_go(*, keep: int) -> None:
    """Close what belongs to the ssh session: it would wait for us."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 1024)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Signals:
    """SIGTERM and the end of a child, as bytes on a descriptor that can be waited for."""

    def __init__(self) -> None:
        self.told_to_stop = False
        self.reader, self._writer = os.pipe()
        for end in (self.reader, self._writer):
            os.set_blocking(end, False)

    def __enter__(self) -> _Signals:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *error: object) -> None:
        signal.set_wakeup_fd(-1)

    def _stop(self, number: int, frame: object) -> None:
        self.told_to_stop = True

    def raise_if_told(self) -> None:
        if self.told_to_stop:
            raise ProbeError("cancelled", "the job was cancelled")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, CHUNK):
                pass


class _Worker:
    """The probe at work on the job, in a process group of its own that ends with it."""

    def __init__(self, job: JobFolder, request: dict[str, Any], log: EventLog, signals: _Signals) -> None:
        self._job = job
        self._request = request
        self._log = log
        self._signals = signals
        self._final: dict[str, Any] | None = None
        self._partial = b""
        self._last_words = b""
        self._logged = 0
        self._seen = time.monotonic()

    def run(self, archive: str) -> dict[str, Any]:
        """The last event. Raises ProbeError when there is none, and OSError when the disk refuses."""
        kills = system.out_of_memory_kills()
        timeout_s = float(self._request["timeout_s"])
        process = subprocess.Popen(
            [self._request["python"], "-E", "-B", archive],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._job.path,
            env=system.clean_environment(os.environ),
            start_new_session=True,
        )
        try:
            _prefer_as_victim(process.pid)
            self._log.append({"event": "started", "agent": True, "pid": process.pid})
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(self._worker_job()).encode())
            self._attend(process, time.monotonic() + timeout_s, timeout_s)
        finally:
            code = _end(process)
        if self._final is not None:
            return self._final
        raise self._why(code, system.out_of_memory_kills() > kills)

    def _worker_job(self) -> dict[str, Any]:
        paths = {name: os.path.join(self._job.root, path) for name, path in self._request["files"].items()}
        paths.update((name, self._job.at(name + ".npy")) for name in self._request["outputs"])
        paths.update(folder=self._job.path, cache=os.path.join(self._job.root, "cache"))
        return dict(self._request["job"], die_with_parent=True, **paths)

    def _attend(self, process: subprocess.Popen[bytes], deadline: float, timeout_s: float) -> None:
        patience_s = float(self._request["abandon_s"])
        with _reading(process, self._signals) as selector:
            while not (_has_ended(process) and self._is_quiet(selector)):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    if self._final is None:
                        raise self._too_long(timeout_s)
                    return
                for key, _mask in selector.select(min(left_s, LOOK_EVERY_S, patience_s)):
                    self._take(selector, key)
                if self._final is not None:
                    deadline = min(deadline, time.monotonic() + EXIT_GRACE_S)
                self._signals.raise_if_told()
                self._look_for_followers()

    def _take(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        if key.data == "signals":
            self._signals.drain()
            return
        try:
            chunk = os.read(key.fd, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            selector.unregister(key.fileobj)
        elif key.data == "stderr":
            self._keep_words(chunk)
        else:
            self._take_lines(chunk)

    def _is_quiet(self, selector: selectors.BaseSelector) -> bool:
        """Whether nothing is left to read of a worker that has ended; a child of it may keep the pipes open."""
        return all(key.data == "signals" for key, _mask in selector.select(0))

    def _take_lines(self, chunk: bytes) -> None:
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if max(map(len, [*lines, self._partial])) > LARGEST_EVENT:
            raise ProbeError("probe-failed", "the probe told too much in one event", f"limit {LARGEST_EVENT} bytes")
        for line in lines:
            event = json.loads(line)
            if event["event"] in ("result", "error"):
                self._final = event
            elif self._final is None:
                self._log.append(event)

    def _keep_words(self, chunk: bytes) -> None:
        """Keep the worker's stderr: in memory its end, on disk its beginning; where the disk is full, not even that."""
        self._last_words = (self._last_words + chunk)[-KEPT_WORDS:]
        if self._logged < LARGEST_LOG:
            self._logged += len(chunk)
            with contextlib.suppress(OSError), open(self._job.at("worker.log"), "ab") as stream:
                stream.write(chunk)

    def _look_for_followers(self) -> None:
        now = time.monotonic()
        patience_s = float(self._request["abandon_s"])
        if now - self._seen < min(LOOK_EVERY_S, patience_s / 2):
            return
        if self._job.is_followed():
            self._seen = now
        elif now - self._seen > patience_s:
            raise ProbeError("abandoned", "nobody followed the job any more, so it was ended")

    def _too_long(self, timeout_s: float) -> ProbeError:
        hint = "try a smaller model or a quicker profile, for example --profile smoke"
        return ProbeError("job-timeout", f"{self.title} did not finish in {timeout_s:g} s", self._tail(), hint)

    def _why(self, code: int, out_of_memory: bool) -> ProbeError:
        if system.is_full(self._job.root):
            return disk_full(self._job.root)
        job = self._request["job"]
        return ending.explain(
            code, title=self.title, backend=job.get("backend", ""), log=self._tail(), out_of_memory=out_of_memory
        )

    @property
    def title(self) -> str:
        job = self._request["job"]
        return "{} {}".format(job.get("backend", "probe"), job.get("verb", "job"))

    def _tail(self) -> str:
        return ending.tail(self._last_words)


@contextlib.contextmanager
def _reading(process: subprocess.Popen[bytes], signals: _Signals) -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        selector.register(signals.reader, selectors.EVENT_READ, "signals")
        for name in ("stdout", "stderr"):
            pipe = getattr(process, name)
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, name)
        yield selector


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without reaping it: its number names its group until then."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """TERM, five seconds, KILL, to the whole group; the leader's exit code."""
    _signal_group(process, signal.SIGTERM)
    limit = time.monotonic() + TERM_GRACE_S
    while not _has_ended(process) and time.monotonic() < limit:
        time.sleep(0.02)
    _signal_group(process, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _prefer_as_victim(pid: int) -> None:
    """Where memory runs out the kernel shall end the worker and not the ssh daemon."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as stream:
        stream.write("500")


def _failed(error: BaseException) -> ProbeError:
    return ProbeError("probe-failed", "the job could not be run", first_line(error))
