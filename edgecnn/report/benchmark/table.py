"""A benchmark as CSV: one line per model and device, times in milliseconds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from edgecnn.measure.fleet import DeviceResult
from edgecnn.report.benchmark import Line, lines

COLUMNS = (
    *("device", "model", "backend", "threads", "batch", "profile", "grade", "processes", "samples"),
    *("median_ms", "median_low_ms", "median_high_ms", "interval", "p90_ms", "p90_bound_ms", "p99_ms", "p99_bound_ms"),
    *("load_ms", "first_ms", "end_to_end_ms", "images_per_s", "energy_mj", "power_source", "peak_memory_mb"),
    *("size_bytes", "speedup", "speedup_low", "speedup_high", "conclusion", "sha256", "reasons"),
)


def render(taken: Sequence[DeviceResult], sizes: Mapping[str, int]) -> str:
    """Lines with a header; what was not measured, or is an emulated board's time, is empty."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in taken:
        for line in lines(one, sizes):
            writer.writerow({key: _harmless(value) for key, value in _cells(one.profile.name, line).items()})
    return sink.getvalue().rstrip("\n")


def _cells(device: str, line: Line) -> dict[str, object]:
    latency, ratio = line.latency, line.ratio
    memory = latency.memory.peak_rss_delta_bytes
    same = ("backend", "threads", "batch", "profile", "grade", "samples", "sha256")
    facts: dict[str, object] = {"device": device, "model": latency.name, "size_bytes": line.size_bytes}
    facts |= {name: getattr(latency, name) for name in same}
    facts |= {"processes": len(latency.processes), "peak_memory_mb": None if memory is None else memory / 1e6}
    facts |= {"reasons": "; ".join(reason.code for reason in latency.reasons)}
    if line.emulated:
        return facts
    times = latency.times
    for column in COLUMNS:
        if column.endswith("_ms"):
            ns = getattr(times, "e2e_median_ns" if column == "end_to_end_ms" else f"{column[:-3]}_ns")
            facts[column] = None if ns is None else ns / 1e6
    facts.update(interval=times.interval, images_per_s=times.throughput_per_s)
    facts.update(energy_mj=latency.energy.energy_mj, power_source=latency.energy.power_source)
    if ratio is not None:
        facts.update(speedup=ratio.speedup, speedup_low=ratio.low, speedup_high=ratio.high, conclusion=ratio.conclusion)
    return facts


def _harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula is told to be a text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
