"""Times of trtexec: the JSON that `--exportTimes` writes, one object a query, in milliseconds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import numpy as np

from .errors import ProbeError, first_line

LARGEST_BYTES = 2 << 30
CHUNK = 1 << 20
LONGEST_OBJECT = 1 << 16
"""Characters that are read on for an entry that does not end; trtexec's have about 350."""
FIELDS = ("h2dMs", "computeMs", "d2hMs", "latencyMs", "startComputeMs")
BLANKS = " \r\n\t,"


class Times(NamedTuple):
    """Nanoseconds (float64) of each query: `latency_ns` is the copy in, the computation and the copy out."""

    h2d_ns: np.ndarray
    compute_ns: np.ndarray
    d2h_ns: np.ndarray
    latency_ns: np.ndarray


def read(path: str, *, warmup_ms: float) -> Times:
    """The queries that began after the warm-up. Raises ProbeError cannot-run for a file that is not as expected."""
    try:
        if os.path.getsize(path) > LARGEST_BYTES:
            raise ValueError(f"it is larger than {LARGEST_BYTES} bytes")
        with open(path, encoding="utf-8") as stream:
            numbers = (number for query in _objects(stream) for number in _row(query))
            rows = np.fromiter(numbers, float).reshape(-1, len(FIELDS))  # a list of a million rows takes 250 MB
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise ProbeError("cannot-run", "trtexec's times cannot be read", first_line(error)) from error
    rows = rows[rows[:, -1] >= warmup_ms]
    if not len(rows):
        raise ProbeError("cannot-run", "trtexec's times cannot be read", "there is no query after the warm-up")
    return Times(*(rows[:, column] * 1e6 for column in range(4)))


def _row(query: Any) -> list[float]:
    if not isinstance(query, dict):
        raise ValueError("an entry is no object")
    row = [_milliseconds(query, name) for name in FIELDS]
    parts, latency = sum(row[:3]), row[3]
    if latency <= 0 or abs(parts - latency) > 0.01 * latency + 0.01:
        raise ValueError(f"an entry's latencyMs is {latency:g}, and its parts are {parts:g} together")
    return row


def _milliseconds(query: dict[str, Any], name: str) -> float:
    value = query.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"an entry's {name} is {str(value)[:40]}")
    return float(value)


def _objects(stream: TextIO) -> Iterator[Any]:
    """The entries of a JSON array, without ever holding all of it."""
    decoder, text, at = json.JSONDecoder(), stream.read(CHUNK).lstrip(), 1
    if not text.startswith("["):
        raise ValueError("it is no JSON array")
    while True:
        while at < len(text) and text[at] in BLANKS:
            at += 1
        if text[at : at + 1] == "]":
            return
        try:
            entry, at = decoder.raw_decode(text, at)
        except ValueError:
            more = stream.read(CHUNK)
            if not more or len(text) - at > LONGEST_OBJECT:
                raise
            text, at = text[at:] + more, 0
            continue
        yield entry
