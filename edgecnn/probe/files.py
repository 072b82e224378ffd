"""Files on the board, named by their content: a model travels once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import system
from .errors import ProbeError
from .jobs import JobFolder, disk_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Beat = Callable[[], None]

SPARE_BYTES = 32 << 20
"""Left free for samples, engines and the system itself."""
WEEK_S = 7 * 86400.0
DAY_S = 86400.0
HOUR_S = 3600.0
LARGEST_STORE = 8 << 30
MAPPED = ".npy"
"""Read a page at a time, so that it need not fit into memory."""


class RequestedFile(NamedTuple):
    """A file of a job: hex `sha256` and `size` in bytes of its content, and its `suffix`, which runtimes look at."""

    sha256: str
    size: int
    suffix: str

    @property
    def name(self) -> str:
        return self.sha256 + self.suffix

    @classmethod
    def parse(cls, field: str, raw: Any) -> RequestedFile:
        fields: dict[str, Any] = raw if isinstance(raw, dict) else {}
        size = fields.get("bytes")
        wanted = cls(str(fields.get("sha256")), size if isinstance(size, int) else -1, str(fields.get("suffix")))
        whole = re.fullmatch(r"[0-9a-f]{64}", wanted.sha256) and re.fullmatch(r"(\.[A-Za-z0-9_]{1,16})?", wanted.suffix)
        if not whole or wanted.size < 0 or not re.fullmatch(r"[a-z0-9_]{1,64}", field):
            raise ProbeError("bad-job", f"the file '{field}' of the job is not described well", repr(raw))
        return wanted


class Files:
    """The folder `files`; `root` is the agent's. `beat` is called while a long file is read."""

    def __init__(self, root: str, beat: Beat) -> None:
        self.root = root
        self._beat = beat

    def path(self, wanted: RequestedFile) -> str:
        return os.path.join("files", wanted.name)

    def receive(self, wanted: RequestedFile, part: str) -> bool:
        """Whether the file is there, as it should be. One that has just arrived as `part` is checked and takes its
        name.

        Raises ProbeError damaged-transfer when it is not what was sent, and disk-full when it could not be written.
        """
        place = os.path.join(self.root, self.path(wanted))
        arrived = place + "." + part + ".part"
        if self._is(place, wanted):
            os.utime(place)
            return True
        if not os.path.exists(arrived):
            return False
        whole = self._is(arrived, wanted)
        if not os.path.exists(arrived):  # an earlier start of this job, whose connection broke, was faster
            return self._is(place, wanted)
        if not whole:
            short = os.path.getsize(arrived) < wanted.size
            full = short and system.free_bytes(self.root) < wanted.size
            os.unlink(arrived)
            if full:
                raise disk_full(self.root)
            raise ProbeError(
                "damaged-transfer",
                "a file arrived with other bytes than it left with",
                f"sha256 {wanted.sha256} was expected" + (", and it is shorter" if short else ""),
                "run it again, and leave the file alone meanwhile",
            )
        os.chmod(arrived, 0o600)
        os.replace(arrived, place)
        return True

    def _is(self, path: str, wanted: RequestedFile) -> bool:
        try:
            return os.path.getsize(path) == wanted.size and system.sha256_of(path, self._beat) == wanted.sha256
        except OSError:
            return False

    def make_room(self, missing: list[RequestedFile]) -> None:
        """Raises ProbeError disk-full when these files do not fit, after what is not needed has been removed."""
        needed = sum(wanted.size for wanted in missing) + SPARE_BYTES
        if system.free_bytes(self.root) < needed:
            clean(self.root, needed=needed)
        if system.free_bytes(self.root) < needed:
            full = disk_full(self.root)
            raise ProbeError(full.code, full.message, f"{needed / 1e6:.1f} MB are needed; {full.why}", full.hint)

    @staticmethod
    def validate_size(wanted: list[RequestedFile]) -> None:
        """Raises ProbeError too-big-for-memory when a file that is loaded whole cannot fit."""
        available = system.memory_available_bytes()
        largest = max((one.size for one in wanted if one.suffix != MAPPED), default=0)
        if available is not None and largest > available:
            raise ProbeError(
                "too-big-for-memory",
                "the model is too big for the memory of the board",
                f"the file has {largest / 1e6:.1f} MB, and {available / 1e6:.1f} MB are available",
                "close other programs there, or take a smaller model",
            )


def clean(root: str, *, needed: int = 0) -> int:
    """Remove what is a week old, then the files used longest ago while they are too many or `needed` bytes are not
    free; the bytes removed.

    Never a job whose supervisor lives, never what such a job reads, and never what was used in the last hour.
    """
    used, removed = set(), 0
    for job in _jobs(root):
        if job.is_alive():
            used.update(job.request().get("files", {}).values())
        elif _age_s(job.path) > WEEK_S:
            removed += _size(job.path)
            job.remove()
    stored = [entry for folder in ("files", "cache", "probe") for entry in _entries(root, folder)]
    total = sum(size for _used_s, size, _name in stored)
    for age_s, size, name in sorted(stored, reverse=True):
        crowded = total > LARGEST_STORE or (needed and system.free_bytes(root) < needed)
        old = age_s > (DAY_S if name.endswith(".part") else WEEK_S)
        if name not in used and age_s > HOUR_S and (old or crowded):
            _remove(os.path.join(root, name))
            total -= size
            removed += size
    return removed


def _jobs(root: str) -> Iterator[JobFolder]:
    with contextlib.suppress(OSError):
        for name in os.listdir(os.path.join(root, "jobs")):
            with contextlib.suppress(ProbeError):
                yield JobFolder(root, name)


def _entries(root: str, folder: str) -> Iterator[tuple[float, int, str]]:
    with contextlib.suppress(OSError):
        for name in os.listdir(os.path.join(root, folder)):
            relative = os.path.join(folder, name)
            path = os.path.join(root, relative)
            yield _age_s(path), _size(path), relative


def _age_s(path: str) -> float:
    """Since it was last written or used. A board without a clock of its own may have written it in the future."""
    try:
        return abs(time.time() - os.stat(path).st_mtime)
    except OSError:
        return 0.0


def _size(path: str) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = os.path.getsize(path)
        for folder, _folders, names in os.walk(path):
            total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return total


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)
