"""Sensors of a Jetson, by files and `nvpmodel`: over-current counters, power rails, GPU clock, power mode.

Source: NVIDIA Jetson Linux Developer Guide, "Jetson Orin Nano Series ... Power and Performance".
"""

from __future__ import annotations

import os
import re
from typing import Any

from .linux import clocks_locked
from .machine import LOG_BYTES, Machine
from .tegrastats import UNCONNECTED

GPU = re.compile(r"(?:^|\.)(?:gpu|ga10b|gv11b|gp10b|gm20b)$|^gpu-gpc-\d+$")
"""Names of the GPU among `/sys/class/devfreq/*`, JetPack 4 to 7."""
ALARM = "soctherm: OC ALARM"
"""What the kernel of a Xavier logs, which counts nothing."""


class Jetson:
    """Every value comes from a file that a plain user can read on most releases; `nvpmodel` needs no root to be
    asked."""

    name = "jetson"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @classmethod
    def found(cls, machine: Machine) -> bool:
        compatible = machine.text("/proc/device-tree/compatible") or ""
        return "nvidia,tegra" in compatible or machine.argv("tegrastats") is not None

    def sample(self) -> dict[str, Any]:
        return {
            "gpu_mhz": gpu_clock(self._machine, "cur_freq"),
            "oc_counts": over_currents(self._machine) or None,
            "rails_w": ina3221(self._machine) or None,
        }

    def snapshot(self) -> dict[str, Any]:
        """`sample`, the power mode by its name, and whether `jetson_clocks` locked CPU and GPU."""
        least, most = (gpu_clock(self._machine, name) for name in ("min_freq", "max_freq"))
        locked = clocks_locked(self._machine)
        reading = dict(self.sample(), gpu_max_mhz=most, power_mode=power_mode(self._machine))
        if reading["oc_counts"] is None:
            reading["oc_counts"] = logged_alarms(self._machine)
        if locked is not None and most is not None:
            reading["clocks_locked"] = locked and least == most
        return reading


def power_mode(machine: Machine) -> str | None:
    """The name that `nvpmodel -q` prints: its number means another mode on another board."""
    match = re.search(r"NV Power Mode:\s*(\S+)", machine.ask("nvpmodel", "-q") or "")
    return match.group(1) if match else None


def over_currents(machine: Machine) -> dict[str, int]:
    """Events since boot: `oc1` under-voltage, `oc2` average over-current, `oc3` instantaneous."""
    counts = {}
    for path in machine.paths("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        count = machine.number(path)
        if count is not None and machine.text(os.path.dirname(path) + "/name") == "soctherm_oc":
            counts[os.path.basename(path).split("_")[0]] = int(count)
    return counts


def logged_alarms(machine: Machine) -> dict[str, int] | None:
    """Over-current alarms in the kernel's log, for a Xavier; None where there is none or it may not be read."""
    if "nvidia,tegra194" not in (machine.text("/proc/device-tree/compatible") or ""):
        return None
    log = machine.ask("dmesg", most_bytes=LOG_BYTES)
    return None if log is None else {"alarm": log.count(ALARM)}


def gpu_clock(machine: Machine, name: str) -> float | None:
    """The greatest of `cur_freq`, `min_freq` or `max_freq` over the GPU's clusters, MHz."""
    folders = [path for path in machine.paths("/sys/class/devfreq/*") if GPU.search(os.path.basename(path))]
    clocks = [machine.number(f"{folder}/{name}", 1e-6) for folder in folders]
    return max((mhz for mhz in clocks if mhz is not None), default=None)


def ina3221(machine: Machine) -> dict[str, float]:
    """Watts of each rail, from the power monitor: V x I (JetPack 5 and later), or milliwatts as they are (4)."""
    rails: dict[str, float] = {}
    for folder in machine.paths("/sys/class/hwmon/hwmon*"):
        if machine.text(folder + "/name") != "ina3221":
            continue
        for channel in ("1", "2", "3"):
            label = machine.text(f"{folder}/in{channel}_label")
            volts = machine.number(f"{folder}/in{channel}_input", 1e-3)
            amperes = machine.number(f"{folder}/curr{channel}_input", 1e-3)
            if label and label != UNCONNECTED and volts is not None and amperes is not None:
                rails[label] = round(volts * amperes, 4)
    for path in machine.paths("/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"):
        label, channel = machine.text(path), path.rsplit("_", 1)[1]
        watts = machine.number(f"{os.path.dirname(path)}/in_power{channel}_input", 1e-3)
        if label and label != UNCONNECTED and watts is not None:
            rails[label] = round(watts, 4)
    return rails
