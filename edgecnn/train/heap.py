"""Heap setting: memory that one training step frees is reused by the next, for the system zeroes every new page."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER = -1
LARGEST_HEAP_BLOCK = 32 << 20
"""Bytes: the most that glibc's mallopt allows. Larger blocks are mapped each time."""
CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@contextmanager
def kept() -> Iterator[None]:
    """Inside, glibc's malloc gives nothing back to the system; at the end all that is free.

    A step frees its activations, at the top of the heap, so glibc returns them, and the next step faults every page in
    again (docs/benchmarks.md, training speed). Elsewhere than glibc, and where the user's environment chooses the
    thresholds, nothing is changed. Afterwards they are what glibc arrives at by itself once a block of 32 MiB has
    been freed. Source: mallopt(3).
    """
    libc = None if any(name in os.environ for name in CHOSEN_BY_USER) else _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)
    try:
        yield
    finally:
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_HEAP_BLOCK)
        libc.malloc_trim(0)


def _glibc() -> Any:
    """The C library, if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl and macOS have none)
    except (AttributeError, OSError, TypeError):
        return None
    libc.mallopt.argtypes, libc.malloc_trim.argtypes = (ctypes.c_int, ctypes.c_int), (ctypes.c_size_t,)
    return libc
