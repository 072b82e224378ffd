"""Store: a cache of finished work on disk, keyed by what went into it.

A digest of inputs, options and tool versions names a folder. Work happens in a temporary folder beside it, which is
renamed when it is complete. So a killed run leaves nothing incomplete under a good name, and two runs at once cannot
damage each other's results: the first to finish wins, and the other's equal result is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import EdgecnnError, StepError

if sys.platform != "win32":
    import fcntl


DONE = "done.json"
NEARLY_FULL_BYTES = 1 << 16
CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
ABANDONED_S = 7 * 86400.0
_SCRATCH = ".scratch-"
_UNFINISHED = re.compile(r"\..+\.(\d+)-[0-9a-f]{6}(?:\.old)?")


@dataclass(frozen=True, slots=True)
class Work:
    """A folder being filled, and the facts to keep with it (JSON values)."""

    folder: Path
    facts: dict[str, Any]


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def beside(path: Path) -> Path:
    """A hidden name next to `path` for an incomplete file; `sweep` removes it when its process is gone."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk, rename over it: readers see the old file or the new one, never a part."""
    raw = content.encode() if isinstance(content, str) else content
    unfinished = beside(path)
    try:
        with unfinished.open("wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def require_folder(path: Path) -> None:
    """Raises CannotWrite where the folder `path` could not be made: it is, or lies below, something else."""
    there = next((place for place in (path, *path.absolute().parents) if os.path.lexists(place)), path)
    if not there.is_dir():
        raise cannot_write(path, NotADirectoryError(errno.ENOTDIR, f"{os.strerror(errno.ENOTDIR)}: {there}"))


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, unless it is there. Raises CannotWrite."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def sweep(folder: Path) -> None:
    """Remove from `folder` what killed processes left incomplete; what belongs to a living process stays.

    Stale scratch folders are deleted after a week.
    """
    for left in folder.glob(".*") if folder.is_dir() else ():
        owner = _UNFINISHED.fullmatch(left.name)
        if owner is None or is_alive(int(owner[1])):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                left.unlink()
    for scratch in folder.glob(f"{_SCRATCH}*"):
        _remove_stale(scratch)


def _remove_stale(scratch: Path) -> None:
    """Remove state that was last saved long ago and that no process holds."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as held:
        if time.time() - scratch.stat().st_mtime > ABANDONED_S and _hold(scratch, held):
            _remove(scratch)


class CannotWrite(StepError):
    """The output folder cannot be written: whatever comes next would fail as well."""


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    full = error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR)
    return CannotWrite(
        "cannot-write",
        f"cannot write {path}",
        why=error.strerror or str(error),
        hint=f"{'free some space or ' if full else ''}choose another folder with --out",
    )


class Store:
    """Finished work under `root`, one folder per step and key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folder, and remove what killed processes left in it. Raises StepError when it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = beside(self.root / "probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise cannot_write(self.root, error) from error
        sweep(self.root)

    def find(self, step: str, key: str) -> Work | None:
        """A finished step, if it is there and its files are unchanged, byte by byte."""
        place = self._place(step, key)
        try:
            written = json.loads((place / DONE).read_text())
            whole = all(sha256_of(place / name) == digest for name, digest in written["files"].items())
            return Work(place, dict(written["facts"])) if whole else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    @contextlib.contextmanager
    def work(self, step: str, key: str) -> Iterator[Work]:
        """A fresh folder to work in: `find(step, key)` returns it when the block ends well; otherwise it is removed.

        Files may lie in folders below it. Raises StepError when the disk refuses.
        """
        place = self._place(step, key)
        folder = beside(place)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        work = Work(folder, {})
        try:
            yield work
            files = {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
            write_atomically(
                folder / DONE, json.dumps({"facts": work.facts, "files": files}, indent=2, default=str) + "\n"
            )
            self._settle(folder, step, key)
        except EdgecnnError:
            raise
        except Exception as error:
            refused = _disk_problem(self.root, error)
            if refused is None:
                raise
            raise refused from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def cached(self, step: str, key: str, compute: Callable[[Path], dict[str, Any]]) -> tuple[Work, bool]:
        """The finished step, and whether it was there; if it was not, `compute` fills the folder it is given and
        returns the facts to keep with it (JSON values). Raises StepError when the disk refuses."""
        work = self.find(step, key)
        if work is not None:
            return work, True
        with self.work(step, key) as unfinished:
            unfinished.facts.update(compute(unfinished.folder))
        work = self.find(step, key)
        if work is None:
            raise StepError("lost-result", f"{step} left no result in {self.root}", hint="run the command again")
        return work, False

    def _settle(self, folder: Path, step: str, key: str) -> None:
        """Rename into place. An equal result that another run put there first stays; a damaged one is replaced."""
        place = self._place(step, key)
        try:
            folder.rename(place)
        except OSError:
            if self.find(step, key) is not None:
                return
            _remove(place)
            folder.rename(place)

    def forget(self, step: str, key: str) -> None:
        """Remove a finished step, so that it is done again."""
        _remove(self._place(step, key))

    def _place(self, step: str, key: str) -> Path:
        return self.root / f"{step}-{key[:24]}"

    @contextlib.contextmanager
    def scratch(self, step: str, key: str) -> Iterator[Path]:
        """A folder that outlives a killed process, for unfinished state; removed when the block ends well.

        Only one process at a time holds it; another gets a private one and starts from nothing.
        """
        place = self.root / f"{_SCRATCH}{self._place(step, key).name}"
        with contextlib.ExitStack() as held:
            try:
                mine = _hold(place, held)
                folder = place if mine else beside(place)
                if not mine:
                    folder.mkdir()
            except OSError as error:
                raise cannot_write(place, error) from error
            try:
                yield folder
            except BaseException:
                if not mine:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            _remove(folder)


@contextlib.contextmanager
def one_at_a_time(lock: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process or thread is in such a block with this file, which is made and stays.

    `on_wait` is called where there is somebody to wait for. Where the file system knows no locks nobody waits. Raises
    StepError when the file cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(lock.open("w"))
        except OSError as error:
            raise cannot_write(lock, error) from error
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    on_wait()
                    fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _hold(place: Path, held: contextlib.ExitStack) -> bool:
    """Whether this process now holds the folder; `held` lets go of it.

    The previous holder removes the folder and the lock file with it. So the lock counts only while its file is there.
    """
    for _ in range(100):
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((place / "lock").open("w"))
            if not _try_lock(lock):
                return False
            if (place / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return True
        except (FileNotFoundError, FileExistsError):  # removed between two of these lines
            continue
    return False


def _remove(folder: Path) -> None:
    """Rename first, so that the name is free at once; then delete file by file."""
    aside = beside(folder)
    with contextlib.suppress(OSError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _disk_problem(folder: Path, error: Exception) -> CannotWrite | None:
    """The error as `CannotWrite`, where the disk is at fault. numpy and others do not say that it is full."""
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        return cannot_write(folder, error)
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free < NEARLY_FULL_BYTES:
            return cannot_write(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return None


def _try_lock(stream: Any) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs here."""
    if sys.platform == "win32":  # signal 0 is Ctrl-C there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
