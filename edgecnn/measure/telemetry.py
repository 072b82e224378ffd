"""Telemetry of one process: what a board's sensors said before, within and after the timed loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecnn.measure.wire.answers import SensorReading, SensorReport

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
    def parse(cls, raw: object) -> Telemetry:
        """What of `raw` is of the right type and size; the rest counts as not read."""
        return cls.of(SensorReport.read(raw))

    @classmethod
    def of(cls, report: SensorReport | None) -> Telemetry:
        if report is None:
            return cls()
        return cls(
            before=_known(report.before),
            after=_known(report.after),
            samples=tuple(map(_known, report.samples)),
            sources=tuple(report.sources),
            period_s=1.0 if report.period_s is None else report.period_s,
            troubles=report.troubles,
        )

    def everything(self) -> Iterator[Reading]:
        """All readings in their order."""
        yield self.before
        yield from self.samples
        yield self.after

    def during(self, key: str) -> list[float]:
        """A number as it was while the clock ran."""
        return [reading[key] for reading in self.samples if key in reading]


def _known(reading: SensorReading | None) -> Reading:
    return {} if reading is None else reading.model_dump(exclude_defaults=True)
