"""Temporary folders below TMPDIR. One whose process was killed is removed by the next process that makes one."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgecnn.core.store import is_alive

ABANDONED_S = 7 * 24 * 3600.0
"""For folders of earlier versions, whose names do not say whose they are."""
_OURS = re.compile(r"edgecnn-(?:[a-z]+-)?(?:(?P<pid>[0-9]+)-)?[A-Za-z0-9_]{8}")


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder that goes when the block ends. Raises OSError where TMPDIR cannot be written."""
    folder, lock = _made(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def lasting_folder(purpose: str) -> Path:
    """A folder for as long as this process lives, which removes it."""
    folder, _ = _made(purpose)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _made(purpose: str) -> tuple[Path, int | None]:
    _sweep_once()
    folder = Path(tempfile.mkdtemp(prefix=f"edgecnn-{purpose}-{os.getpid()}-"))
    return folder, _locked(folder)


def sweep_temporary(parent: Path) -> None:
    """Remove what killed processes left in `parent`. A folder is left alone while its process lives or anybody, in
    another container perhaps, holds its lock."""
    for folder in parent.glob("edgecnn-*"):
        with contextlib.suppress(OSError):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    ours, about = _OURS.fullmatch(folder.name), folder.lstat()
    if ours is None or not folder.is_dir() or folder.is_symlink() or about.st_uid != os.getuid():
        return False
    if ours["pid"] is None:
        return time.time() - about.st_mtime > ABANDONED_S
    if is_alive(int(ours["pid"])):
        return False
    lock = _locked(folder)
    if lock is None:
        return False
    os.close(lock)
    return True


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed, at the latest when the process ends; None where
    another has it."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@functools.cache
def _sweep_once() -> None:
    if sys.platform != "win32":
        sweep_temporary(Path(tempfile.gettempdir()))
