"""Sensors of a Raspberry Pi's firmware: throttling, true clock, temperature, on a Pi 5 its power chip's rails.

Every question goes over the firmware's mailbox and takes milliseconds: ask at most twice a second.
Source: Raspberry Pi documentation, `vcgencmd`.
"""

from __future__ import annotations

import re
from typing import Any

from .linux import temperature
from .machine import Machine, as_number

THROTTLED_FILES = "/sys/devices/platform/soc*/soc*:firmware/get_throttled"
MAILBOX_ERROR = 0x80000000
RAIL = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)
INPUT_RAIL = "EXT5V"
"""The supply itself: the firmware reads its voltage, not its current."""


class RaspberryPi:
    name = "vcgencmd"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._has_power_chip = _board(machine).startswith("Raspberry Pi 5")

    @classmethod
    def found(cls, machine: Machine) -> bool:
        return _board(machine).startswith("Raspberry Pi") or machine.argv("vcgencmd") is not None

    def sample(self) -> dict[str, Any]:
        """`throttled` are the firmware's bits; `rails_w` the rails behind the Pi 5's power chip; `input_v` its
        supply."""
        reading: dict[str, Any] = {"throttled": throttled(self._machine), "cpu_mhz": self._clock()}
        if temperature(self._machine) is None:
            reading["temperature_c"] = self._measured("measure_temp", r"temp=(-?[0-9.]+)")
        if self._has_power_chip:
            answer = self._machine.ask("vcgencmd", "pmic_read_adc")
            reading.update(rails(answer) if answer is not None else {})
        return reading

    def _clock(self) -> float | None:
        """The true clock of the cores, MHz; Linux only knows the one it asked for."""
        hertz = self._measured("measure_clock", r"=(\d+)", "arm")
        return None if not hertz else round(hertz / 1e6, 3)

    def _measured(self, question: str, pattern: str, *arguments: str) -> float | None:
        match = re.search(pattern, self._machine.ask("vcgencmd", question, *arguments) or "")
        return as_number(match.group(1)) if match else None


def throttled(machine: Machine) -> int | None:
    """The bits of `vcgencmd get_throttled`, or of its file: 0 to 3 now, 16 to 19 the same since boot."""
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", machine.ask("vcgencmd", "get_throttled") or "")
    texts = [match.group(1)] if match else [machine.text(path) for path in machine.paths(THROTTLED_FILES)]
    for text in texts:
        try:
            bits = int(text or "", 16)
        except ValueError:
            continue
        if not bits & MAILBOX_ERROR:
            return bits
    return None


def rails(answer: str) -> dict[str, Any]:
    """The lines of `pmic_read_adc`: watts of each rail that has both a current and a voltage, volts of the supply."""
    read: dict[str, dict[str, float]] = {}
    for name, unit, value in RAIL.findall(answer):
        number = as_number(value)
        if number is not None:
            read.setdefault(name, {})[unit] = number
    watts = {name: round(both["A"] * both["V"], 4) for name, both in read.items() if len(both) == 2}
    return {"rails_w": watts or None, "input_v": read.get(INPUT_RAIL, {}).get("V")}


def _board(machine: Machine) -> str:
    return machine.device_tree("model") or ""
