"""Finished work, found again by what went into it.
 A digest of inputs, options and tool versions names a folder. Work happens in a folder of its own beside it and is
renamed into place when it is whole, so a killed run leaves nothing half-done behind a good name, and two runs at
once cannot tear each other's results: the first to finish wins and the other's equal result is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.errors import StepError

if sys.platform != "win32":
    import fcntl


DONE = "done.json"
CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


@dataclass(frozen=True, slots=True)
class Work:
    """A folder being filled, and the facts to keep with it (JSON values)."""

    folder: Path
    facts: dict[str, Any]


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk, rename over it: readers see the old file or the new one, never a part."""
    raw = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}")
    try:
        with beside.open("wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StepError:
    return StepError(
        "cannot-write",
        f"cannot write {path}",
        why=error.strerror or str(error),
        hint="free some space or choose another folder with --out; finished stages are kept and will not be repeated",
    )


class Store:
    """Folders of finished work under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, step: str, key: str) -> Path:
        return self.root / f"{step}-{key[:24]}"

    def find(self, step: str, key: str) -> Path | None:
        """The folder of a finished step, or None."""
        place = self.place(step, key)
        return place if (place / DONE).is_file() else None

    def facts(self, step: str, key: str) -> dict[str, Any] | None:
        """What a finished step wrote down, or None."""
        place = self.find(step, key)
        if place is None:
            return None
        try:
            found: dict[str, Any] = json.loads((place / DONE).read_text())
        except (OSError, ValueError):
            return None
        return found

    @contextlib.contextmanager
    def work(self, step: str, key: str) -> Iterator[Work]:
        """A fresh folder to work in; kept as `find(step, key)` when the block ends well, removed when it does not."""
        place = self.place(step, key)
        folder = self.root / f".{place.name}.{os.getpid()}-{secrets.token_hex(3)}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        work = Work(folder, {})
        try:
            yield work
            (folder / DONE).write_text(json.dumps(work.facts, indent=2, default=str))
            self._settle(folder, place)
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            raise cannot_write(folder, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _settle(self, folder: Path, place: Path) -> None:
        try:
            folder.rename(place)
        except OSError:
            if not (place / DONE).is_file():
                raise

    def forget(self, step: str, key: str) -> None:
        """Remove a finished step whose files turned out to be damaged."""
        shutil.rmtree(self.place(step, key), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left behind: folders of work whose process is gone."""
        for folder in self.root.glob(".*-*.*-*"):
            pid = folder.name.rpartition(".")[2].partition("-")[0]
            if pid.isdigit() and not _is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self, step: str, key: str) -> Iterator[Path]:
        """A folder that outlives a killed process, for half-done state; emptied when the block ends well.

        Only one process at a time holds it; another gets a private one and starts from nothing.
        """
        place = self.root / f".scratch-{self.place(step, key).name}"
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(place, error) from error
        with (place / "lock").open("w") as lock:
            mine = _try_lock(lock)
            folder = place if mine else place.with_name(f"{place.name}.{os.getpid()}-{secrets.token_hex(3)}")
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            except BaseException:
                if not mine:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)


def _try_lock(stream: Any) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
