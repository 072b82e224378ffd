"""Latency of one candidate: median, percentiles, energy and conditions, from the raw samples of its processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from edgecnn.core.device import DeviceProfile
from edgecnn.measure.effort import Profile
from edgecnn.measure.grade import Grade, Reason, grade_of
from edgecnn.measure.process import Candidate, Process
from edgecnn.measure.reasons import reasons_for
from edgecnn.statistics import samples

ENOUGH_FOR_INTERVAL = 5
"""Processes below which a bootstrap over them is not worth the name."""
ENOUGH_FOR_ENERGY = 20
"""Readings of power below which their mean is not worth a number."""

Interval = Literal["ci95", "range"]


@dataclass(frozen=True, slots=True)
class MeasuredDevice:
    """Where it was measured: the device's name, and its profile where the readings are held against one."""

    device: str = "host"
    expect: DeviceProfile | None = None


@dataclass(frozen=True, slots=True)
class LatencyTimes:
    """What the processes' times say together, ns.

    `median_ns` is the median of the processes' medians, in [`median_low_ns`, `median_high_ns`]: a bootstrap 95 %
    interval over processes (`ci95`), or their smallest and largest (`range`). `p90_ns` and `p99_ns` are medians of
    the processes' nearest-rank percentiles; `p90_low_ns` and `p90_high_ns` a nested bootstrap, or the range;
    `p90_bound_ns` and `p99_bound_ns` the largest of the processes' 99 % upper bounds, None when a process has too few
    samples. `load_ns` and `first_ns` are of a cold process with a warm page cache. `e2e_median_ns` is from 8-bit pixels
    in memory to the best class, `throughput_per_s` counts images, one run after another.
    """

    interval: Interval
    median_ns: float
    median_low_ns: float
    median_high_ns: float
    p90_ns: float
    p90_low_ns: float
    p90_high_ns: float
    p90_bound_ns: float | None
    p99_ns: float
    p99_bound_ns: float | None
    throughput_per_s: float
    e2e_median_ns: float | None
    load_ns: float
    first_ns: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Largest of the processes; the delta is over the imported runtime, the drop that of the board's free memory."""

    peak_rss_bytes: int | None
    peak_rss_delta_bytes: int | None
    memory_drop_bytes: int | None


@dataclass(frozen=True, slots=True)
class EnergyUse:
    """Gross energy of one image: mean power of the board while the clock ran, times the median time.

    `power_source` is "measured", "sum of rails" or "estimated"; all None where too few readings were taken.
    """

    energy_mj: float | None = None
    power_w: float | None = None
    power_source: str = ""


@dataclass(frozen=True, slots=True)
class BoardConditions:
    """Temperature at the start and the highest, and the mean clock of the fastest core; None where it was not read."""

    temperature_c: tuple[float, float] | None
    cpu_mhz: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """What the processes of one candidate say together, and the reasons that limit it."""

    name: str
    backend: str
    threads: int
    sha256: str
    profile: str
    seed: int
    device: str
    batch: int
    processes: tuple[Process, ...]
    times: LatencyTimes
    memory: MemoryUse
    energy: EnergyUse
    conditions: BoardConditions
    reasons: tuple[Reason, ...]

    @property
    def samples(self) -> int:
        return sum(len(process.samples_ns) for process in self.processes)

    @property
    def samples_ns(self) -> np.ndarray:
        """Every raw sample, ns per run: float64 (N,), in the order of `processes`."""
        return np.concatenate([np.asarray(process.samples_ns, np.float64) for process in self.processes])

    @property
    def grade(self) -> Grade:
        return grade_of(self.reasons)

    @property
    def emulated(self) -> bool:
        """Whether another machine played the board: then the times say nothing about it."""
        return any(process.emulated for process in self.processes)

    def to_dict(self) -> dict[str, Any]:
        """Everything, raw samples and readings included: the archive. Times, memory and the rest are on one level."""
        content = {**asdict(self), "grade": self.grade}
        for part in ("times", "memory", "energy", "conditions"):
            content.update(content.pop(part))
        return content

    def summary(self) -> dict[str, Any]:
        """Everything but the raw samples, and the machine's facts as the first process saw them."""
        counts = {"processes": len(self.processes), "samples": self.samples, "grade": self.grade}
        return {**replace(self, processes=()).to_dict(), **counts, "facts": dict(self.processes[0].facts)}


def summarise(
    candidate: Candidate,
    processes: Sequence[Process],
    *,
    profile: Profile,
    seed: int,
    place: MeasuredDevice | None = None,
) -> Latency:
    """One Latency from the raw samples of a candidate's processes."""
    place = place or MeasuredDevice()
    times = _times(processes, candidate.batch, seed)
    return Latency(
        name=candidate.name,
        backend=candidate.backend,
        threads=candidate.threads,
        sha256=candidate.artifact.sha256,
        profile=profile.name,
        seed=seed,
        device=place.device,
        batch=candidate.batch,
        processes=tuple(processes),
        times=times,
        memory=_memory(processes),
        energy=_energy(processes, times.median_ns / candidate.batch),
        conditions=_conditions(processes),
        reasons=reasons_for(processes, candidate=candidate, min_iterations=profile.min_iterations, expect=place.expect),
    )


def _times(processes: Sequence[Process], batch: int, seed: int) -> LatencyTimes:
    medians = [process.median_ns for process in processes]
    series = [process.samples_ns for process in processes]
    p90, p99 = ([samples.nearest_rank(times, at) for times in series] for at in (90, 99))
    low, high, p90_low, p90_high = min(medians), max(medians), min(p90), max(p90)
    enough = len(processes) >= ENOUGH_FOR_INTERVAL
    if enough:
        low, high = samples.bootstrap_median(medians, seed=seed)
        p90_low, p90_high = samples.bootstrap_percentile(series, 90, seed=seed)
    median_ns = float(np.median(medians))
    whole = [float(np.median(p.e2e_ns)) for p in processes if p.e2e_ns is not None]
    return LatencyTimes(
        interval="ci95" if enough else "range",
        median_ns=median_ns,
        median_low_ns=low,
        median_high_ns=high,
        p90_ns=float(np.median(p90)),
        p90_low_ns=p90_low,
        p90_high_ns=p90_high,
        p90_bound_ns=_bound(series, 90),
        p99_ns=float(np.median(p99)),
        p99_bound_ns=_bound(series, 99),
        throughput_per_s=batch * 1e9 / median_ns,
        e2e_median_ns=float(np.median(whole)) if whole else None,
        load_ns=float(np.median([process.load_ns for process in processes])),
        first_ns=float(np.median([process.first_ns for process in processes])),
    )


def _bound(series: Sequence[Sequence[float]], percentile: int) -> float | None:
    bounds = [samples.early_stopping_bound(times, percentile) for times in series]
    return None if None in bounds else max(bound for bound in bounds if bound is not None)


def _memory(processes: Sequence[Process]) -> MemoryUse:
    drops = []
    for telemetry in (process.telemetry for process in processes):
        free = telemetry.during("memory_available_bytes")
        if free and "memory_available_bytes" in telemetry.before:
            drops.append(max(0, int(telemetry.before["memory_available_bytes"] - min(free))))
    return MemoryUse(
        peak_rss_bytes=_largest([process.peak_rss_bytes for process in processes]),
        peak_rss_delta_bytes=_largest([process.peak_rss_delta_bytes for process in processes]),
        memory_drop_bytes=_largest(drops),
    )


def _energy(processes: Sequence[Process], image_ns: float) -> EnergyUse:
    """From all readings of power while the clock ran; nothing from too few, or from those of two kinds."""
    readings = [reading for process in processes for reading in process.telemetry.samples if "power_w" in reading]
    sources = {str(reading.get("power_source", "")) for reading in readings}
    if len(readings) < ENOUGH_FOR_ENERGY or len(sources) != 1:
        return EnergyUse()
    power_w = float(np.mean([reading["power_w"] for reading in readings]))
    return EnergyUse(power_w * image_ns / 1e6, power_w, sources.pop())


def _conditions(processes: Sequence[Process]) -> BoardConditions:
    readings = [reading for process in processes for reading in process.telemetry.everything()]
    celsius = [reading["temperature_c"] for reading in readings if "temperature_c" in reading]
    clocks = [mhz for process in processes for mhz in process.telemetry.during("cpu_mhz")]
    return BoardConditions((celsius[0], max(celsius)) if celsius else None, float(np.mean(clocks)) if clocks else None)


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
