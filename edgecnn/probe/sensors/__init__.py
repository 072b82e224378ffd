"""Sensors of a board: asked together, merged into one reading, absent where they cannot be read.

A reading is a dictionary of some of these: `temperature_c`, `cpu_mhz`, `cpu_busy`, `gpu_mhz`, `gpu_load`, `emc_mhz`,
`throttled` (a Raspberry Pi's bits), `oc_counts` (a Jetson's counters since boot), `rails_w`, `power_w`, `power_source`,
`input_v`, `memory_available_bytes`; a snapshot also has `power_mode`, `boot_id`, `governor`, `clocks_locked`,
`cpu_max_mhz`, `gpu_max_mhz`, `loadavg`, `oom_kills`.
"""

from __future__ import annotations

import os
from typing import Any

from .jetson import Jetson
from .linux import Linux
from .machine import Machine
from .power import board_power
from .raspberry_pi import RaspberryPi
from .tegrastats import Tegrastats

KINDS = (RaspberryPi, Jetson, Linux)
"""In order of trust: the firmware knows the true clock, Linux the one it asked for."""


class Sensors:
    """The sources that this machine has. `rails` says which rails make up the board (see `power.board_power`); with
    `follow_s` also those that are a program of their own, which reports every so many seconds until `close`."""

    def __init__(
        self, machine: Machine | None = None, *, rails: dict[str, Any] | None = None, follow_s: float | None = None
    ) -> None:
        self._machine = Machine() if machine is None else machine
        self._rails = {} if rails is None else rails
        here = [kind(self._machine) for kind in KINDS if kind.found(self._machine)] if os.name == "posix" else []
        self._sources: list[Any] = list(here)
        if follow_s is not None and any(isinstance(source, Jetson) for source in here):
            self._sources.insert(0, Tegrastats(self._machine, follow_s))

    @property
    def names(self) -> list[str]:
        return [source.name for source in self._sources]

    @property
    def troubles(self) -> dict[str, str]:
        """What failed so far, a sentence for each source."""
        return dict(self._machine.troubles)

    def sample(self) -> dict[str, Any]:
        """What may change every second."""
        return self._merged([source.sample() for source in self._sources])

    def snapshot(self) -> dict[str, Any]:
        """All there is to know: for before and after, for it may take a second."""
        return self._merged([getattr(source, "snapshot", source.sample)() for source in self._sources])

    def close(self) -> None:
        for source in self._sources:
            getattr(source, "close", lambda: None)()

    def __enter__(self) -> Sensors:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _merged(self, readings: list[dict[str, Any]]) -> dict[str, Any]:
        """The first that knows a value is believed."""
        merged: dict[str, Any] = {}
        for reading in readings:
            for key, value in reading.items():
                if value is not None:
                    merged.setdefault(key, value)
        if "rails_w" in merged:
            merged.update(board_power(merged["rails_w"], self._rails))
        return merged
