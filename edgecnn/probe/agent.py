"""Agent: the verbs that outlive a connection: start a job, follow it, look at it, cancel it, clean up.

The agent is the archive `FOLDER/probe/<sha256>.pyz` itself; all that it keeps lies in FOLDER. A job runs in a
process that is detached from the connection, and whoever is connected only reads along.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from . import system
from .errors import ProbeError, first_line
from .events import Events
from .files import Files, RequestedFile, clean
from .job import Job
from .jobs import JobFolder, disk_full, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

HEARTBEAT_S = 5.0
POLL_S = 0.2
"""Between two looks at the job's events: five a second cost less than a thousandth of one core."""
CANCEL_S = 15.0
FOLDERS = ("probe", "files", "jobs", "cache")


def start(job: Job, events: Events) -> dict[str, Any]:
    """Begin the job called `id`, unless it has begun already, and follow it.

    Fields: `job`, what the worker is given; `files`, {field: {sha256, bytes, suffix}}; `outputs`, the fields that are
    arrays; `python`, the interpreter; `timeout_s`, `lock_wait_s`, `abandon_s`; `client`, who asks; `inline_bytes`;
    `done`, jobs that may go. `{"state": "missing", "fields": [...]}` when files are to be sent, as
    `files/<sha256><suffix>.<id>.part`.
    """
    root, archive = _home()
    folder = JobFolder(root, job.get("id", str))
    if not folder.exists():
        beat = _Heart(events).beat
        try:
            missing = _prepare(root, archive, job, Files(root, beat))
            if missing:
                return {"state": "missing", "fields": missing}
            _begin(folder, archive, job)
        except OSError as error:
            raise _refused(root, error) from error
    return _follow(folder, -1, job.get_or("inline_bytes", 0, int), events)


def follow(job: Job, events: Events) -> dict[str, Any]:
    """The events of job `id` after number `after`, then how it ended."""
    root, _archive = _home()
    folder = JobFolder(root, job.get("id", str))
    return _follow(folder, job.get_or("after", -1, int), job.get_or("inline_bytes", 0, int), events)


def status(job: Job, events: Events) -> dict[str, Any]:
    """Who holds the board, and where job `id` is, if one is named: unknown, running, done or lost."""
    root, _archive = _home()
    answer: dict[str, Any] = {"boot_id": system.boot_id(), "free_bytes": system.free_bytes(root)}
    holder = read_json(os.path.join(root, "holder.json")) or {}
    name = holder.get("job")
    answer["holder"] = holder if isinstance(name, str) and JobFolder(root, name).is_alive() else None
    name = job.get_or("id", None, str)
    return answer if name is None else dict(answer, state=_state(JobFolder(root, name)))


def cancel(job: Job, events: Events) -> dict[str, Any]:
    """End job `id` and all its processes; returns when they are gone."""
    root, _archive = _home()
    folder = JobFolder(root, job.get("id", str))
    limit = time.monotonic() + CANCEL_S
    while folder.is_alive() and time.monotonic() < limit:
        pid = folder.supervisor()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(POLL_S)
    return {"state": _state(folder)}


def clean_up(job: Job, events: Events) -> dict[str, Any]:
    """Remove what is old or not needed, and the jobs in `done`."""
    root, _archive = _home()
    _forget(root, job)
    return {"removed_bytes": clean(root), "free_bytes": system.free_bytes(root)}


VERBS = {"start": start, "follow": follow, "status": status, "cancel": cancel, "clean": clean_up}


def _home() -> tuple[str, str]:
    """The agent's folder and its archive, which must lie there under the name of its content."""
    archive = os.path.abspath(sys.argv[0])
    folder = os.path.dirname(archive)
    if os.path.basename(folder) != "probe" or not archive.endswith(".pyz"):
        raise ProbeError("bad-job", "only the agent of a board does this", f"it is {archive}")
    if os.path.basename(archive) != system.sha256_of(archive) + ".pyz":
        raise ProbeError("damaged-probe", "the agent on the board is damaged", archive)
    return os.path.dirname(folder), archive


def _prepare(root: str, archive: str, job: Job, files: Files) -> list[str]:
    """The fields whose files are missing; the board is known to have room for them."""
    os.umask(0o077)
    for name in FOLDERS:
        os.makedirs(os.path.join(root, name), 0o700, exist_ok=True)
    os.utime(archive)
    _forget(root, job)
    clean(root)
    wanted = _wanted(job)
    files.validate_size(list(wanted.values()))
    missing = {field: one for field, one in wanted.items() if not files.receive(one, job.get("id", str))}
    files.make_room(list(missing.values()))
    return list(missing)


def _begin(folder: JobFolder, archive: str, job: Job) -> None:
    from . import supervise

    outputs = job.get("outputs", list)
    if not all(isinstance(name, str) and name.isidentifier() for name in outputs):
        raise ProbeError("bad-job", "an output is not called like this", repr(outputs))
    limits = {name: job.get(name, int, float) for name in ("timeout_s", "lock_wait_s", "abandon_s")}
    files = {field: os.path.join("files", one.name) for field, one in _wanted(job).items()}
    python = job.get_or("python", sys.executable, str)
    request = dict(limits, job=job.get("job", dict), files=files, outputs=outputs, client=job.get("client", str))
    request["python"] = os.path.abspath(python) if "/" in python else python
    try:
        alive = folder.create(request)
    except FileExistsError:  # a start whose connection broke was faster
        return
    supervise.detach(folder, alive, archive=archive)


def _wanted(job: Job) -> dict[str, RequestedFile]:
    return {field: RequestedFile.parse(field, raw) for field, raw in job.get("files", dict).items()}


def _forget(root: str, job: Job) -> None:
    for name in job.get_or("done", [], list):
        JobFolder(root, str(name)).remove()


def _follow(folder: JobFolder, after: int, inline_bytes: int, events: Events) -> dict[str, Any]:
    try:
        events.note("attached", boot_id=system.boot_id())
        if not folder.exists():
            raise ProbeError("unknown-job", f"no job {folder.name} is known there")
        with folder.following():
            final = _read_along(folder, after, events)
    except BrokenPipeError:  # nobody reads along any more; the job goes on
        os._exit(1)
    except OSError as error:
        raise _refused(folder.root, error) from error
    if final.get("event") != "result":
        raise ProbeError(*(str(final.get(key, "")) for key in ("code", "message", "why", "hint")))
    result = {key: value for key, value in final.items() if key not in ("seq", "event")}
    return {"state": "done", "result": result, "outputs": _outputs(folder, inline_bytes)}


def _read_along(folder: JobFolder, after: int, events: Events) -> dict[str, Any]:
    """Pass on every event with a number above `after`, as they come; the last event."""
    heart, lines = _Heart(events), _lines(folder.at("events.jsonl"))
    number = -1
    while True:
        alive = folder.is_alive()  # before the look for the result: what ends in between has left one
        final = folder.result()
        for line in lines:
            if line is None:
                break
            number += 1
            if number > after:
                events.pass_on(line)
        if final is not None:
            return final
        if not alive:
            raise _lost(folder)
        heart.beat()
        time.sleep(POLL_S)


def _lines(path: str) -> Iterator[str | None]:
    """Whole lines of a growing file; None when there is none for now."""
    partial, stream = "", None
    while True:
        if stream is None:
            with contextlib.suppress(FileNotFoundError):
                stream = open(path, encoding="utf-8")  # noqa: SIM115 - read until the process ends
        partial += stream.readline() if stream is not None else ""
        if partial.endswith("\n"):
            yield partial
            partial = ""
        else:
            yield None


def _lost(folder: JobFolder) -> ProbeError:
    """Why a job has neither a supervisor nor a result."""
    began = folder.request().get("boot_id")
    if began != system.boot_id():
        return ProbeError(
            "board-rebooted", "the board was started anew during the job", f"boot {began}, now {system.boot_id()}"
        )
    if system.is_full(folder.root):
        return disk_full(folder.root)
    return ProbeError("probe-killed", "the job was killed, and the process that watched over it", "", "run it again")


def _outputs(folder: JobFolder, inline_bytes: int) -> dict[str, Any]:
    """Size of each array, and as base64 its content as far as all of these have no more than `inline_bytes`."""
    arrays: dict[str, Any] = {}
    for name in folder.request().get("outputs", []):
        try:
            size = os.path.getsize(folder.at(name + ".npy"))
            arrays[name] = {"bytes": size}
            if size <= inline_bytes:
                with open(folder.at(name + ".npy"), "rb") as stream:
                    arrays[name]["base64"] = base64.b64encode(stream.read()).decode()
                inline_bytes -= size
        except OSError:
            continue
    return arrays


def _state(folder: JobFolder) -> str:
    if not folder.exists():
        return "unknown"
    if folder.is_alive():
        return "running"
    return "lost" if folder.result() is None else "done"


def _refused(root: str, error: OSError) -> ProbeError:
    """What the file system said no to."""
    if system.is_full(root, error):
        return disk_full(root, error)
    return ProbeError("cannot-write", f"cannot write {root} on the board", first_line(error))


class _Heart:
    """Says every few seconds that it is still there."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._last = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._last >= HEARTBEAT_S:
            self._last = time.monotonic()
            self._events.note("heartbeat")
