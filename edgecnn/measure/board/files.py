"""Files that are copied to a board, and arrays that come back."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.store import cannot_write
from edgecnn.measure.board.agent import Agent
from edgecnn.measure.wire import events
from edgecnn.measure.wire.arrays import validate_npy
from edgecnn.measure.wire.fields import bad_answer

INLINE_BYTES = 1 << 18
"""Arrays up to this size, together, come with the last event: one command more costs a second on a slow board."""
LARGEST_ARRAY = 1 << 30
LEAST_LIMIT = 1 << 20
SAMPLES_PER_S = 20_000.0
"""The most that the probe's loop takes: a sample lasts 50 us or more."""
MOST_CLASSES = 1 << 15


class BoardFiles:
    """`copied_bytes` counts what was sent."""

    def __init__(self, agent: Agent) -> None:
        self.copied_bytes = 0
        self._agent = agent
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def describe(self, files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
        """What the agent finds them by: {field: {sha256, bytes, suffix}}. Raises InputError file-missing."""
        described = {}
        for field, path in files.items():
            try:
                sha256, size = self._digest(path), path.stat().st_size
            except OSError as error:
                raise InputError("file-missing", f"cannot read {path}", why=error.strerror or str(error)) from error
            described[field] = {"sha256": sha256, "bytes": size, "suffix": _suffix(path)}
        return described

    def send(self, path: Path, job: str) -> None:
        """Copy a file to where the agent expects it for `job`; it gets its name when its content has been checked."""
        target = f"{self._agent.folder}/files/{self._digest(path)}{_suffix(path)}.{job}.part"
        self._agent.transport.put(path, target)
        self.copied_bytes += path.stat().st_size

    def save(self, raw: bytes, path: Path) -> None:
        """Write an array that came from the board, once it is known to be one. Raises StepError bad-answer."""
        validate_npy(raw, self._agent.name)
        try:
            path.write_bytes(raw)
        except OSError as error:
            raise cannot_write(path, error) from error

    def inline(self, description: Mapping[str, Any], limit_bytes: int) -> bytes | None:
        """The array that came with the last event; None when it has to be fetched."""
        size = events.field_of(description, "bytes", int, device=self._agent.name)
        if not 0 <= size <= limit_bytes:
            raise StepError(
                "board-sent-too-much", f"{self._agent.name} has an array of {size} bytes, more than can be the answer"
            )
        if "base64" not in description:
            return None
        try:
            raw = base64.b64decode(events.field_of(description, "base64", str, device=self._agent.name), validate=True)
        except ValueError:
            raw = b""
        if len(raw) != size:
            bad_answer(self._agent.name, "an array of another size than it says")
        return raw

    def fetch(self, job: str, field: str, size: int) -> bytes:
        """The array `field` of a job. The path is made here, of names that were made here."""
        raw = self._agent.transport.get(f"{self._agent.folder}/jobs/{job}/{field}.npy", limit_bytes=size)
        if len(raw) != size:
            bad_answer(self._agent.name, "an array of another size than it says")
        return raw

    def _digest(self, path: Path) -> str:
        """sha256, read again only when the file's size or time is another."""
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in self._digests:
            self._digests[key] = sha256_of(path)
        return self._digests[key]


def largest_answer(files: Mapping[str, Path], timeout_s: float) -> int:
    """The most bytes an array of a job can have: a float per image and class, or a sample of 8 bytes each 50 us."""
    rows = 0
    for path in files.values():
        if path.suffix == ".npy":
            rows += _rows(path)
    asked = rows * MOST_CLASSES * 4 if rows else int(timeout_s * SAMPLES_PER_S) * 8
    return min(LARGEST_ARRAY, LEAST_LIMIT + asked)


def _rows(path: Path) -> int:
    import numpy as np

    shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    return int(shape[0]) if shape else 1


def _suffix(path: Path) -> str:
    return path.suffix if re.fullmatch(r"\.[A-Za-z0-9_]{1,16}", path.suffix) else ""
