"""Arrays that a device sends: nothing is unpickled, and nothing allocated by a header's word."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from edgecnn.measure.wire.fields import bad_answer

LARGEST_GRAPH = (64 << 20) + 4096
NPY = re.compile(
    rb"\{'descr': '([<|][a-z][1-8])', 'fortran_order': False, 'shape': \((\d{0,15}(?:, ?\d{1,15}){0,3}),?\), *\} *\n"
)
"""The header as numpy writes it, of up to four axes, each shorter than 10^15."""
MAGIC = b"\x93NUMPY\x01\x00"
DTYPES = {b"<f2": 2, b"<f4": 4, b"<f8": 8, b"<i8": 8, b"<i4": 4, b"|i1": 1, b"|u1": 1}
"""Types an array may have, with the bytes of one element."""


def validate_npy(raw: bytes, device: str) -> None:
    """Raises StepError bad-answer unless `raw` is a plain array: no objects, up to four axes, and exactly as long as
    its header says."""
    length = int.from_bytes(raw[8:10], "little")
    header = NPY.fullmatch(raw[10 : 10 + length]) if raw.startswith(MAGIC) else None
    if header is None or header[1] not in DTYPES:
        bad_answer(device, "something that is no plain array")
    sizes = [int(size) for size in header[2].split(b",") if size.strip()]
    if math.prod(sizes) * DTYPES[header[1]] != len(raw) - 10 - length:
        bad_answer(device, "an array whose header does not fit its content")


def read_samples(path: Path, runs: int) -> tuple[float, ...]:
    """The samples of a file, ns per run; empty where it holds none. Raises ValueError and OSError."""
    totals = np.load(path, allow_pickle=False)
    if totals.ndim != 1 or totals.dtype.kind not in "iu" or (totals <= 0).any():
        raise ValueError(f"samples are {totals.dtype} {totals.shape}, or not all positive")
    return tuple((totals / runs).tolist())


def read_bytes(path: Path, device: str) -> bytes:
    """The content of a file that holds a row of bytes; empty where there is none. Raises StepError bad-answer."""
    if not path.is_file():
        return b""
    if path.stat().st_size > LARGEST_GRAPH:
        bad_answer(device, "a graph that is too big")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        bad_answer(device, "a graph that cannot be read")
    if array.dtype != np.uint8 or array.ndim != 1:
        bad_answer(device, "a graph that is no row of bytes")
    return bytes(array.tobytes())
