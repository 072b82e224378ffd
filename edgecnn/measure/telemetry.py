"""What a board's sensors said around and beside one process: checked when it arrives, for a board is not trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_READINGS = 2000
MOST_NAMES = 64
LONGEST_TEXT = 120
NUMBERS = (
    *("t_s", "temperature_c", "cpu_mhz", "cpu_max_mhz", "cpu_busy", "gpu_mhz", "gpu_max_mhz", "gpu_load", "emc_mhz"),
    *("power_w", "input_v", "memory_available_bytes", "disk_free_bytes", "oom_kills"),
)
TEXTS = ("power_mode", "power_source", "governor", "boot_id")

Reading = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`before` and `after` were taken outside the timed loop, `samples` inside it; keys as in
    `edgecnn.probe.sensors`, absent where a sensor could not be read. `troubles` says what failed, by source."""

    before: Reading = field(default_factory=dict)
    after: Reading = field(default_factory=dict)
    samples: tuple[Reading, ...] = ()
    sources: tuple[str, ...] = ()
    period_s: float = 1.0
    troubles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, told: object) -> Telemetry:
        """What of `told` is of the right type and size; the rest counts as not read."""
        if not isinstance(told, Mapping):
            return cls()
        samples = told.get("samples")
        sources, period_s = told.get("sources"), told.get("period_s")
        return cls(
            before=_reading(told.get("before")),
            after=_reading(told.get("after")),
            samples=tuple(_reading(item) for item in samples[:MOST_READINGS]) if isinstance(samples, list) else (),
            sources=tuple(map(plain, sources[:MOST_NAMES])) if isinstance(sources, list) else (),
            period_s=float(period_s) if isinstance(period_s, int | float) and _is_number(period_s) else 1.0,
            troubles={plain(key): plain(value) for key, value in _items(told.get("troubles"))},
        )

    def everything(self) -> Iterator[Reading]:
        """All readings in their order."""
        yield self.before
        yield from self.samples
        yield self.after

    def during(self, key: str) -> list[float]:
        """A number as it was while the clock ran."""
        return [reading[key] for reading in self.samples if key in reading]


def plain(value: object) -> str:
    """A text from a board, fit for a terminal: one line of printable characters."""
    return "".join(char for char in str(value)[:LONGEST_TEXT] if char.isprintable())


def _reading(told: object) -> Reading:
    if not isinstance(told, Mapping):
        return {}
    found: dict[str, Any] = {key: told[key] for key in NUMBERS if _is_number(told.get(key))}
    found.update((key, plain(told[key])) for key in TEXTS if isinstance(told.get(key), str))
    if isinstance(told.get("clocks_locked"), bool):
        found["clocks_locked"] = told["clocks_locked"]
    bits = told.get("throttled")
    if isinstance(bits, int) and not isinstance(bits, bool) and 0 <= bits < 1 << 31:
        found["throttled"] = bits
    for key in ("oc_counts", "rails_w"):
        numbers = {plain(name): value for name, value in _items(told.get(key)) if _is_number(value)}
        if numbers:
            found[key] = numbers
    return found


def _items(told: object) -> Sequence[tuple[object, object]]:
    return list(told.items())[:MOST_NAMES] if isinstance(told, Mapping) else []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
