"""CPU: its name, the instructions that decide how fast INT8 is, clocks and governors."""

from __future__ import annotations

import os
import platform
from typing import Any

from .sensors.machine import Machine

POLICIES = ("/sys/devices/system/cpu/cpufreq/policy[0-9]*", "/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
"""One folder for all cores that share a clock; where there is none, one for each core."""
INSTRUCTIONS = {
    "asimd": "asimd",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "fphp": "fp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve2": "sve2",
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx_vnni": "avx_vnni",
    "avx512_vnni": "avx512_vnni",
    "amx_int8": "amx_int8",
}
"""The kernel's word and ours. Source: arch/arm64/kernel/cpuinfo.c and arch/x86 of Linux."""


def model(machine: Machine) -> str | None:
    """The first CPU's name; on Arm its implementer and part, for `/proc/cpuinfo` has no name there."""
    wanted = {"model name": "", "CPU implementer": "", "CPU part": ""}
    for key, value in _cpuinfo(machine):
        if key in wanted and not wanted[key]:
            wanted[key] = value
    if wanted["model name"]:
        return wanted["model name"]
    if wanted["CPU part"]:
        return "implementer {} part {}".format(wanted["CPU implementer"], wanted["CPU part"])
    return platform.processor() or None


def instructions(machine: Machine) -> list[str] | None:
    """The extensions of INSTRUCTIONS that it has, in our words; None where the kernel does not say."""
    for key, value in _cpuinfo(machine):
        if key in ("Features", "flags"):
            has = set(value.split())
            return list(dict.fromkeys(ours for theirs, ours in INSTRUCTIONS.items() if theirs in has))
    return None


def policies(machine: Machine) -> dict[str, dict[str, Any]]:
    """By name: `governor`, and in MHz `now` (asked for), `min` and `max` (allowed), `hardware_max`."""
    folders = [machine.paths(pattern) for pattern in POLICIES]
    return {_name(folder): _policy(machine, folder) for folder in next((found for found in folders if found), [])}


def clocks(found: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """The fastest core's clock `now`, and the span `min` to `max` that the hardware has, MHz."""
    return {
        "now": max((one["now"] for one in found.values() if one["now"] is not None), default=None),
        "min": min((one["min"] for one in found.values() if one["min"] is not None), default=None),
        "max": max((one["hardware_max"] for one in found.values() if one["hardware_max"] is not None), default=None),
    }


def governors(found: dict[str, dict[str, Any]]) -> list[str]:
    """Each once."""
    return sorted({one["governor"] for one in found.values() if one["governor"]})


def _policy(machine: Machine, folder: str) -> dict[str, Any]:
    return {
        "governor": machine.text(folder + "/scaling_governor"),
        "now": machine.number(folder + "/scaling_cur_freq", 1e-3),
        "min": machine.number(folder + "/scaling_min_freq", 1e-3),
        "max": machine.number(folder + "/scaling_max_freq", 1e-3),
        "hardware_max": machine.number(folder + "/cpuinfo_max_freq", 1e-3),
    }


def _name(folder: str) -> str:
    last = os.path.basename(folder)
    return last if last != "cpufreq" else os.path.basename(os.path.dirname(folder))


def _cpuinfo(machine: Machine) -> list[tuple[str, str]]:
    lines = (machine.text("/proc/cpuinfo") or "").splitlines()
    return [(key.strip(), value.strip()) for key, _colon, value in (line.partition(":") for line in lines)]
