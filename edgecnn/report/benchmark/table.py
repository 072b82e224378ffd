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
    facts: dict[str, object] = {
        "device": device,
        "model": latency.name,
        "backend": latency.backend,
        "threads": latency.threads,
        "batch": latency.batch,
        "profile": latency.profile,
        "grade": latency.grade,
        "processes": len(latency.processes),
        "samples": latency.samples,
        "peak_memory_mb": None
        if latency.memory.peak_rss_delta_bytes is None
        else latency.memory.peak_rss_delta_bytes / 1e6,
        "size_bytes": line.size_bytes,
        "sha256": latency.sha256,
        "reasons": "; ".join(reason.code for reason in latency.reasons),
    }
    if line.emulated:
        return facts
    times = {
        "median_ms": latency.times.median_ns,
        "median_low_ms": latency.times.median_low_ns,
        "median_high_ms": latency.times.median_high_ns,
        "p90_ms": latency.times.p90_ns,
        "p90_bound_ms": latency.times.p90_bound_ns,
        "p99_ms": latency.times.p99_ns,
        "p99_bound_ms": latency.times.p99_bound_ns,
        "load_ms": latency.times.load_ns,
        "first_ms": latency.times.first_ns,
        "end_to_end_ms": latency.times.e2e_median_ns,
    }
    facts.update({key: None if value is None else value / 1e6 for key, value in times.items()})
    facts.update(interval=latency.times.interval, images_per_s=latency.times.throughput_per_s)
    facts.update(energy_mj=latency.energy.energy_mj, power_source=latency.energy.power_source)
    if ratio is not None:
        facts.update(speedup=ratio.speedup, speedup_low=ratio.low, speedup_high=ratio.high, conclusion=ratio.conclusion)
    return facts


def _harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula is told to be a text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
