"""Folder of a job on the board: what was asked, what happened, how it ended.

job.json       the request, and the boot it came in
alive          locked by the supervisor as long as it lives; its process id
followers      locked, shared, by whoever reads along
events.jsonl   numbered lines; the number of a line is its `seq`
result.json    the last event; renamed into place, so it is whole or absent
reserve        blocks kept back, so that the end can be told on a full disk
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any

from . import system
from .errors import ProbeError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

RESERVE_BYTES = 16384
NAME = re.compile(r"[0-9a-f]{8,64}")


class JobFolder:
    """`jobs/<name>` below the agent's folder. Raises ProbeError bad-job for a name that is no number in hexadecimal."""

    def __init__(self, root: str, name: str) -> None:
        if not NAME.fullmatch(name):
            raise ProbeError("bad-job", "a job is not called like this", repr(name))
        self.root = root
        self.name = name
        self.path = os.path.join(root, "jobs", name)

    def at(self, name: str) -> str:
        return os.path.join(self.path, name)

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def create(self, request: dict[str, Any]) -> int:
        """Make the folder; the descriptor that holds `alive`. Raises FileExistsError when there is one already."""
        os.mkdir(self.path, 0o700)
        try:
            alive = os.open(self.at("alive"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(alive, fcntl.LOCK_EX)
            with open(self.at("reserve"), "wb") as stream:
                stream.write(b" " * RESERVE_BYTES)
                stream.flush()
                os.fsync(stream.fileno())
            write_json(self.at("job.json"), dict(request, boot_id=system.boot_id()))
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        return alive

    def request(self) -> dict[str, Any]:
        """What was asked; empty where it cannot be read."""
        return read_json(self.at("job.json")) or {}

    def is_alive(self) -> bool:
        """Whether the supervisor is at work."""
        return _is_locked(self.at("alive"), against=fcntl.LOCK_SH)

    def is_followed(self) -> bool:
        return _is_locked(self.at("followers"), against=fcntl.LOCK_EX)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        with open(self.at("followers"), "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    def supervisor(self) -> int | None:
        """The process id of a living supervisor."""
        with contextlib.suppress(OSError, ValueError):
            with open(self.at("alive")) as stream:
                number = int(stream.read())
            return number if self.is_alive() else None
        return None

    def result(self) -> dict[str, Any] | None:
        return read_json(self.at("result.json"))

    def finish(self, final: dict[str, Any]) -> None:
        """Leave the last event; on a full disk that error, in the blocks of the reserve."""
        try:
            write_json(self.at("result.json"), final)
        except OSError as error:
            error_event = final if final.get("code") == "disk-full" else dict(disk_full(self.root, error).to_dict())
            text = json.dumps(dict(error_event, event="error")).encode()[:RESERVE_BYTES]
            with open(self.at("reserve"), "r+b") as stream:
                stream.write(text.ljust(RESERVE_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(self.at("reserve"), self.at("result.json"))
        with contextlib.suppress(OSError):
            os.unlink(self.at("reserve"))

    def remove(self) -> None:
        """Unless its supervisor lives."""
        if not self.is_alive():
            shutil.rmtree(self.path, ignore_errors=True)


class EventLog:
    """Numbered lines in `events.jsonl`. A line that does not fit on the disk leaves no half behind."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._boot_id = system.boot_id()
        self._length = 0
        self._next = 0

    def append(self, event: dict[str, Any]) -> None:
        line = dict(event, seq=self._next, t_ns=time.monotonic_ns(), boot_id=self._boot_id)
        raw = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            if os.write(self._descriptor, raw) < len(raw):
                raise OSError(system.FULL[0], os.strerror(system.FULL[0]))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise
        self._length += len(raw)
        self._next += 1


@contextlib.contextmanager
def only_job(root: str, holder: dict[str, Any], wait_s: float, on_wait: Any) -> Iterator[None]:
    """Hold the board: one job at a time. `on_wait(holder)` is called once when somebody else has it, and
    `on_wait(None)` while waiting.

    Raises ProbeError device-busy, naming the holder, after `wait_s`.
    """
    path = os.path.join(root, "holder.json")
    with open(os.path.join(root, "lock"), "a") as lock:
        begin, announced = time.monotonic(), False
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            other = read_json(path) or {}
            if time.monotonic() - begin >= wait_s:
                raise _busy(other, wait_s)
            on_wait(None if announced else other)
            announced = True
            time.sleep(0.25)
        with contextlib.suppress(OSError):  # it only serves to be named
            write_json(path, dict(holder, pid=os.getpid(), user=_user(), since_s=time.time()))
        yield


def disk_full(folder: str, error: BaseException | None = None) -> ProbeError:
    """The error when a write failed for it."""
    left = ""
    with contextlib.suppress(OSError):
        left = f"{system.free_bytes(folder) / 1e6:.1f} MB are free for {folder}"
    why = "; ".join(part for part in ("" if error is None else first_line(error), left) if part)
    return ProbeError("disk-full", "the disk is full", why, "free some space there: df -h; rm -r " + folder)


def write_json(path: str, value: dict[str, Any]) -> None:
    """All of it or nothing."""
    beside = path + ".tmp"
    try:
        with open(beside, "w", encoding="utf-8") as stream:
            json.dump(value, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_locked(path: str, *, against: int) -> bool:
    """Whether somebody holds a lock on the file that forbids a lock of the kind `against`."""
    try:
        with open(path) as stream:
            return not _try_lock(stream.fileno(), against)
    except OSError:
        return False


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(holder: dict[str, Any], wait_s: float) -> ProbeError:
    since = holder.get("since_s")
    for_s = max(0.0, time.time() - since) if isinstance(since, (int, float)) else 0.0
    who = "{} for {} (process {})".format(*(holder.get(key, "?") for key in ("user", "host", "pid")))
    return ProbeError(
        "device-busy",
        f"another job has been running there for {for_s:.0f} s: {who}",
        f"one job at a time; waited {wait_s:g} s for it",
        f"wait, or end it there: kill {holder.get('pid', 'PID')}",
    )


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid())
