"""Arrays that are too big for a line of JSON."""

from __future__ import annotations

import contextlib
import os

import numpy as np

from . import system
from .errors import ProbeError, first_line


def save(path: str, array: np.ndarray) -> None:
    """Write `.npy` beside `path` and rename it into place: the host sees all of it or nothing."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as stream:
            np.save(stream, array, allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        full = system.is_full(os.path.dirname(path) or ".", error)
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if full:
            raise ProbeError("disk-full", "the disk is full", first_line(error), "free some space") from error
        raise ProbeError("cannot-write", "cannot write " + path, first_line(error), "free some space") from error


def read(path: str) -> np.ndarray:
    """The array in `path`, mapped, not loaded."""
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ProbeError("bad-job", "cannot read the array " + path, first_line(error)) from error
    return mapped
