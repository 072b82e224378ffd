"""Benchmark results as rows; `document` and `table` present them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgecnn.measure.fleet import DeviceResult
from edgecnn.measure.latency import Latency, Ratio, compare

SCHEMA = "edgecnn.benchmark/1"


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one device. `against` names the candidate it is compared with, the first model at the same batch."""

    latency: Latency
    size_bytes: int
    emulated: bool
    against: str = ""
    ratio: Ratio | None = None

    @property
    def name(self) -> str:
        return self.latency.name


def lines(taken: DeviceResult, sizes: Mapping[str, int]) -> list[Line]:
    """The rows of one device; each is compared with the first candidate of its batch size. The device is emulated if it
    said so once: before the measurement, or in any process of it."""
    emulated = bool(taken.facts.get("emulated")) or any(latency.emulated for latency in taken.latencies)
    first: dict[int, Latency] = {}
    rows = []
    for latency in taken.latencies:
        reference = first.setdefault(latency.batch, latency)
        ratio = None if reference is latency or emulated else compare(latency, reference)
        against = "" if reference is latency else reference.name
        rows.append(Line(latency, sizes[latency.sha256], emulated, against, ratio))
    return rows


TIMES = (
    *("median_ns", "median_low_ns", "median_high_ns", "p90_ns", "p90_low_ns", "p90_high_ns", "p90_bound_ns"),
    *("p99_ns", "p99_bound_ns", "load_ns", "first_ns", "e2e_median_ns", "throughput_per_s", "energy_mj"),
)


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **dict.fromkeys(TIMES), "facts": {**row["facts"], "import_ns": None}}


def to_dict(taken: Sequence[DeviceResult], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The JSON document: devices, models measured, and what failed. An emulated board's times are null: only
    `--save-samples` keeps them."""
    devices, models, failed = [], [], []
    for one in taken:
        devices.append(
            {
                "name": one.profile.name,
                "title": one.profile.title,
                "emulated": bool(one.facts.get("emulated")),
                "copied_bytes": one.copied_bytes,
                "facts": dict(one.facts),
            }
        )
        for line in lines(one, sizes):
            row = {**line.latency.summary(), "device": one.profile.name, "size_bytes": line.size_bytes}
            row.update(versus=line.against or None, versus_first=asdict(line.ratio) if line.ratio else None)
            models.append(_timeless(row) if line.emulated else row)
        failed += [
            {"device": one.profile.name, "name": failure.name, **failure.error.to_dict()} for failure in one.failures
        ]
    return {"schema": SCHEMA, "devices": devices, "models": models, "failed": failed}
