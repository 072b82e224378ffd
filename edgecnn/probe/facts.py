"""What this machine is and what it was doing: read, never guessed; None where it cannot be read."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import numpy as np


def describe() -> dict[str, Any]:
    """Facts that do not change during a job."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "board": board(),
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str | None:
    """The first CPU's name; on Arm its implementer and part, for `/proc/cpuinfo` has no name there."""
    wanted = {"model name": "", "Model": "", "CPU implementer": "", "CPU part": ""}
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in wanted and not wanted[key.strip()]:
            wanted[key.strip()] = value.strip()
    if wanted["model name"]:
        return wanted["model name"]
    if wanted["CPU part"]:
        return "implementer {} part {}".format(wanted["CPU implementer"], wanted["CPU part"])
    return platform.processor() or None


def board() -> str | None:
    """The device tree's model, for example `Raspberry Pi 4 Model B Rev 1.4`; None on a PC."""
    return _read("/proc/device-tree/model")


def memory_bytes() -> int | None:
    try:
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return None


def load() -> dict[str, Any]:
    """What is running now: load averages, and CPU seconds spent by everybody and by this process since boot and
    start."""
    own = os.times()
    return {
        "loadavg": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "busy_s": _busy_s(),
        "own_s": own.user + own.system,
        "wall_s": own.elapsed,
    }


def other_load(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Share of all CPU time, in [0, 1], that others used between two `load()` readings; None where unreadable."""
    wall_s = after["wall_s"] - before["wall_s"]
    if before["busy_s"] is None or after["busy_s"] is None or wall_s <= 0:
        return None
    others = (after["busy_s"] - before["busy_s"]) - (after["own_s"] - before["own_s"])
    return float(min(1.0, max(0.0, others / (wall_s * (os.cpu_count() or 1)))))


def _busy_s() -> float | None:
    """user + nice + system + irq + softirq + steal of `/proc/stat`, in seconds."""
    fields = (_read("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq + steal) / float(os.sysconf("SC_CLK_TCK"))


def reset_peak_rss() -> None:
    """Let the peak start again from what is resident now; silently keeps the old peak where the kernel refuses."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:  # noqa: PTH123 - one syscall, no pathlib needed on the board
            stream.write("5")
    except OSError:
        pass


def peak_rss_bytes() -> int | None:
    """The largest resident set of this process so far, bytes."""
    for line in (_read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _getrusage_peak()


def _getrusage_peak() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return stream.read().strip("\0 \n") or None
    except OSError:
        return None
