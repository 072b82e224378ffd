"""`tegrastats` of JetPack 4 to 7: a child process that prints a line a period, and what is on such a line."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from .machine import LIMIT_BYTES, Machine, end

# A number has at most nine digits: a longer one is damage, and left out.
BYTES = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
RAM = re.compile(r"\bRAM ([0-9]{1,9})/([0-9]{1,9})(kB|MB|GB)\b")
CPU = re.compile(r"\bCPU \[([^\]]*)\]")
CORE = re.compile(r"^([0-9]{1,9})%@([0-9]{1,9})$")
ENGINE = re.compile(r"\b(EMC|GR3D)_FREQ (?:([0-9]{1,9})%)?(?:@(?:\[([0-9,]{1,99})\]|([0-9]{1,9})))?")
ZONE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)C(?:/(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)C)?")
RAIL = re.compile(
    r"\b((?:VDD|VIN|POM|VDDQ|SYS|CPU|GPU|SOC|CV|NC)[A-Z0-9_]*) "
    r"([0-9]{1,9})(?:mW)?/([0-9]{1,9})(?:mW)?(?:/([0-9]{1,9})(?:mW)?)?(?=\s|$)"
)
OFFLINE_C = -100.0
"""A zone that is switched off reads -256."""
CONSTANT_ZONE = "PMIC"
"""100 degrees on every board of JetPack 4, whatever happens."""

UNCONNECTED = "NC"


class Tegrastats:
    """The child. `sample` gives what its newest line says and nothing when there is no new one."""

    name = "tegrastats"

    def __init__(self, machine: Machine, period_s: float) -> None:
        self._machine = machine
        self._tail = b""
        self._child: subprocess.Popen[bytes] | None = None
        argv = machine.argv("tegrastats")
        if argv is None:
            return
        try:
            self._child = subprocess.Popen(
                [*argv, "--interval", str(max(100, int(period_s * 1000)))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            machine.trouble("tegrastats", str(error))
            return
        assert self._child.stdout is not None
        os.set_blocking(self._child.stdout.fileno(), False)

    def sample(self) -> dict[str, Any]:
        line = self._newest()
        if line is None:
            return {}
        reading = parse(line)
        return {
            key: reading.get(key) for key in ("temperature_c", "cpu_mhz", "gpu_mhz", "gpu_load", "emc_mhz", "rails_w")
        }

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            end(child)

    def _newest(self) -> str | None:
        """The last whole line that came since; earlier ones are dropped."""
        newest: bytes | None = None
        while self._child is not None and self._child.stdout is not None:
            try:
                part = os.read(self._child.stdout.fileno(), LIMIT_BYTES)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            if not part:
                self._machine.trouble("tegrastats", "it ended by itself")
                self.close()
                break
            lines = (self._tail + part).split(b"\n")
            self._tail = lines.pop()[-LIMIT_BYTES:]
            newest = lines[-1] if lines else newest
        return None if newest is None else newest.decode("utf-8", "replace")


def parse(line: str) -> dict[str, Any]:
    """One line. Celsius, MHz, shares of 1, bytes, and watts at that moment, not their mean since the program began.

    `temperature_c` is the hottest zone, `cpu_mhz` the fastest core, `gpu_mhz` the fastest of its clusters;
    `cores_off` are the cores that the power mode switched off. What the line does not say is left out.
    """
    reading: dict[str, Any] = {}
    ram = RAM.search(line)
    if ram:
        unit = BYTES[ram.group(3)]
        reading["memory_used_bytes"], reading["memory_bytes"] = int(ram.group(1)) * unit, int(ram.group(2)) * unit
    reading.update(_cores(line))
    for name, load, several, one in ENGINE.findall(line):
        engine = "gpu" if name == "GR3D" else "emc"
        clocks = [float(clock) for clock in (several or one).split(",") if clock]
        if load:
            reading[engine + "_load"] = int(load) / 100
        if clocks:
            reading[engine + "_mhz"] = max(clocks)
    zones = {name: float(now) for name, now, _highest in ZONE.findall(line) if float(now) > OFFLINE_C}
    zones.pop(CONSTANT_ZONE, None)
    if zones:
        reading["zones_c"], reading["temperature_c"] = zones, max(zones.values())
    rails = {name: int(now) / 1000 for name, now, _mean, _highest in RAIL.findall(line) if name != UNCONNECTED}
    if rails:
        reading["rails_w"] = rails
    return reading


def _cores(line: str) -> dict[str, Any]:
    cpu = CPU.search(line)
    if not cpu:
        return {}
    cores = cpu.group(1).split(",")
    on = [match for match in map(CORE.match, cores) if match]
    reading: dict[str, Any] = {"cores_off": [index for index, core in enumerate(cores) if core == "off"]}
    if on:
        reading["cpu_mhz"] = max(float(core.group(2)) for core in on)
        reading["cpu_busy"] = sum(int(core.group(1)) for core in on) / (100 * len(on))
    return reading
