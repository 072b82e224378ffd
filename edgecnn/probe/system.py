"""System readings of the agent. Without numpy: the agent answers before, and where, that could be loaded."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from typing import TYPE_CHECKING

from .privacy import disable_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
NEARLY_FULL_BYTES = 1 << 16
FORGOTTEN = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TF_NUM_", "ORT_")
"""A thread count is an explicit option; the environment must not have another opinion."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: without thread counts, with no telemetry, and with whole folders only in PYTHONPATH,
    where an empty entry means the current folder."""
    found = {key: value for key, value in environ.items() if not key.startswith(FORGOTTEN)}
    if "PYTHONPATH" in found:
        folders = [entry for entry in found.pop("PYTHONPATH").split(os.pathsep) if os.path.isabs(entry)]
        found.update({"PYTHONPATH": os.pathsep.join(folders)} if folders else {})
    disable_telemetry(found)
    return found


def boot_id() -> str:
    """Another one after each start of the machine; empty where the kernel has none."""
    return "".join(_lines("/proc/sys/kernel/random/boot_id"))


def memory_available_bytes(proc: str = "/proc") -> int | None:
    """MemAvailable: what a new process can have without swapping."""
    for line in _lines(proc + "/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def free_bytes(folder: str) -> int:
    """What this user may still write there."""
    disk = os.statvfs(folder)
    return int(disk.f_bavail * disk.f_frsize)


def is_full(folder: str, error: BaseException | None = None) -> bool:
    """Whether the disk of `folder` is; numpy, for one, does not say so when it fails for that."""
    if getattr(error, "errno", None) in FULL:
        return True
    with contextlib.suppress(OSError):
        return free_bytes(folder) < NEARLY_FULL_BYTES
    return False


def out_of_memory_kills(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """How many processes the kernel has killed for want of memory, here and in this control group.

    Only its rise means something. Sources: `oom_kill` of /proc/vmstat (Linux 4.13) and of memory.events (cgroup v2).
    """
    total = _counter("oom_kill", _lines(proc + "/vmstat"))
    for line in _lines(proc + "/self/cgroup"):
        if line.startswith("0::"):
            total += _counter("oom_kill", _lines(cgroups + line[3:].rstrip("/") + "/memory.events"))
    return total


def sha256_of(path: str, beat: Callable[[], None] = lambda: None) -> str:
    """Hex sha256 of a file; `beat` is called while it is read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
            beat()
    return digest.hexdigest()


def _counter(name: str, lines: Iterable[str]) -> int:
    return sum(int(line.split()[1]) for line in lines if line.startswith(name + " "))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()
    except OSError:
        return []
