"""Sensors of any Linux: thermal zones, clocks, load, memory."""

from __future__ import annotations

import os
import re
from typing import Any

from ..system import memory_available_bytes
from .machine import Machine, as_number

CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/"
CHIP = re.compile(r"cpu|soc|gpu|x86_pkg|^tj|^pkg|k10temp|coretemp|zenpower|^cv\d", re.IGNORECASE)
ELSEWHERE = re.compile(r"pmic|wifi|iwl|bat|charg|nvme|acpitz|^ao", re.IGNORECASE)
"""Zones that say nothing about the processor, or the same whatever happens."""
PLAUSIBLE_C = (-40.0, 150.0)
"""A zone that is switched off says -256."""


class Linux:
    name = "linux"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before: tuple[float, float] | None = None

    @classmethod
    def found(cls, machine: Machine) -> bool:
        return machine.text("/proc/stat") is not None

    def sample(self) -> dict[str, Any]:
        """What may change every second: Celsius, MHz (the fastest core's), shares of 1, bytes."""
        return {
            "temperature_c": temperature(self._machine),
            "cpu_mhz": fastest(self._machine, "scaling_cur_freq"),
            "cpu_busy": self._busy_share(),
            "memory_available_bytes": memory_available_bytes(self._machine.path("/proc")),
        }

    def snapshot(self) -> dict[str, Any]:
        """`sample`, and what is worth a look before and after only."""
        return dict(
            self.sample(),
            cpu_max_mhz=fastest(self._machine, "scaling_max_freq"),
            clocks_locked=clocks_locked(self._machine),
            governor=self._machine.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            boot_id=self._machine.text("/proc/sys/kernel/random/boot_id"),
            loadavg=_loadavg(self._machine),
            oom_kills=_oom_kills(self._machine),
        )

    def _busy_share(self) -> float | None:
        """Share of all CPU time that was spent working since the last reading."""
        now = cpu_ticks(self._machine)
        before, self._before = self._before, now
        if now is None or before is None or now[1] <= before[1]:
            return None
        return round(min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1]))), 4)


def temperature(machine: Machine) -> float | None:
    """The hottest zone of the chip, Celsius; of all zones when none is named after it."""
    celsius_of = dict(zones(machine))
    chip = [celsius for name, celsius in celsius_of.items() if CHIP.search(name) and not ELSEWHERE.search(name)]
    others = [celsius for name, celsius in celsius_of.items() if not ELSEWHERE.search(name)]
    return max(chip or others or list(celsius_of.values()), default=None)


def zones(machine: Machine) -> list[tuple[str, float]]:
    """Name and Celsius of every thermal zone that is switched on; the processor's own sensor where there is none."""
    named = []
    for folder in machine.paths("/sys/class/thermal/thermal_zone*"):
        celsius = machine.number(folder + "/temp", 1e-3)
        if celsius is not None and PLAUSIBLE_C[0] < celsius < PLAUSIBLE_C[1]:
            named.append((machine.text(folder + "/type") or os.path.basename(folder), round(celsius, 3)))
    if any(CHIP.search(name) for name, _celsius in named):
        return named
    for folder in machine.paths("/sys/class/hwmon/hwmon*"):
        name = machine.text(folder + "/name") or ""
        celsius = machine.number(folder + "/temp1_input", 1e-3)
        if celsius is not None and CHIP.search(name) and PLAUSIBLE_C[0] < celsius < PLAUSIBLE_C[1]:
            named.append((name, round(celsius, 3)))
    return named


def fastest(machine: Machine, name: str) -> float | None:
    """The greatest of a clock over all cores, MHz: an idle core may be slow, a throttled chip has no fast one."""
    return max(_clocks(machine, name), default=None)


def clocks_locked(machine: Machine) -> bool | None:
    """Whether every core's least clock is its greatest; None where they cannot be read."""
    least, most = (_clocks(machine, name) for name in ("scaling_min_freq", "scaling_max_freq"))
    return least == most if least and most else None


def _clocks(machine: Machine, name: str) -> list[float]:
    clocks = [machine.number(path, 1e-3) for path in machine.paths(CPUFREQ + name)]
    return [mhz for mhz in clocks if mhz is not None and mhz > 0]


def _loadavg(machine: Machine) -> list[float] | None:
    averages = [as_number(field) for field in (machine.text("/proc/loadavg") or "").split()[:3]]
    numbers = [number for number in averages if number is not None]
    return numbers if len(numbers) == 3 else None


def _oom_kills(machine: Machine) -> int | None:
    """How many processes the kernel killed for memory since boot."""
    for line in (machine.text("/proc/vmstat") or "").splitlines():
        if line.startswith("oom_kill "):
            number = as_number(line.split()[1])
            return None if number is None else int(number)
    return None


def cpu_ticks(machine: Machine) -> tuple[float, float] | None:
    """Clock ticks since boot of all cores, busy (user, nice, system, irq, softirq, steal) and in all."""
    fields = (machine.text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    numbers = [as_number(field) or 0.0 for field in fields[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, sum(numbers)
