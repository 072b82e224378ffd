"""Facts of this machine and what it was doing: read, never guessed; None where they cannot be read."""

from __future__ import annotations

import hashlib
import os
import platform
import struct
import sys
from typing import Any

from . import cpu, jetpack
from .emulation import emulated
from .sensors.linux import cpu_ticks
from .sensors.machine import Machine


def describe(machine: Machine | None = None) -> dict[str, Any]:
    """Facts that do not change during a job; a hundredth of a second."""
    machine = Machine() if machine is None else machine
    release, compatible = jetpack.l4t(machine), machine.device_tree("compatible")
    return {
        "python": platform.python_version(),
        "bits": 8 * struct.calcsize("P"),
        "numpy": numpy_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "os": operating_system(machine),
        "release": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "board": machine.device_tree("model"),
        "compatible": compatible.split("\0") if compatible is not None else None,
        "l4t": release,
        "jetpack": jetpack.jetpack(release),
        "emulated": emulated(),
        "cpu": cpu.model(machine),
        "isa": cpu.instructions(machine),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "governor": machine.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "boot_id": machine.text("/proc/sys/kernel/random/boot_id"),
        "machine_id_hash": machine_id_hash(machine),
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def operating_system(machine: Machine) -> str | None:
    """Its own name for itself, such as `Debian GNU/Linux 12 (bookworm)`."""
    for line in (machine.text("/etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip("\"' ") or None
    return None


def machine_id_hash(machine: Machine) -> str | None:
    """What tells this installation from another; the id itself stays here, as machine-id(5) asks."""
    machine_id = machine.text("/etc/machine-id")
    return hashlib.sha256(b"edgecnn:" + machine_id.encode()).hexdigest()[:16] if machine_id else None


def numpy_version() -> str | None:
    """Without importing it: where it is broken, this is still to be told."""
    if "numpy" in sys.modules:
        return str(sys.modules["numpy"].__version__)
    from importlib import metadata

    try:
        return metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return None


def memory_bytes() -> int | None:
    try:
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return None


def load() -> dict[str, Any]:
    """What is running now: load averages, and CPU seconds spent by everybody since boot, and by this process and
    its children that ended since its start."""
    own = os.times()
    return {
        "loadavg": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "busy_s": _busy_s(),
        "own_s": own.user + own.system + own.children_user + own.children_system,
        "wall_s": own.elapsed,
    }


def other_load(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Share of all CPU time, in [0, 1], that others used between two `load()` readings; None where unreadable."""
    wall_s = after["wall_s"] - before["wall_s"]
    if before["busy_s"] is None or after["busy_s"] is None or wall_s <= 0:
        return None
    others = (after["busy_s"] - before["busy_s"]) - (after["own_s"] - before["own_s"])
    return float(min(1.0, max(0.0, others / (wall_s * (os.cpu_count() or 1)))))


def own_load(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Cores that this process kept busy between two `load()` readings: CPU time by wall time; None of no time."""
    wall_s = after["wall_s"] - before["wall_s"]
    return float((after["own_s"] - before["own_s"]) / wall_s) if wall_s > 0 else None


def _busy_s() -> float | None:
    ticks = cpu_ticks(Machine())
    return None if ticks is None else ticks[0] / float(os.sysconf("SC_CLK_TCK"))


def reset_peak_rss() -> None:
    """Let the peak start again from what is resident now; silently keeps the old peak where the kernel refuses."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError:
        pass


def peak_rss_bytes() -> int | None:
    """The largest resident set of this process so far, bytes."""
    for line in (Machine().text("/proc/self/status") or "").splitlines():
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
