"""Latency of several arms, interleaved: blocks in which each arm has one fresh process, in random order."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import Finished, Progress, Started, Tell
from edgecnn.core.target import DeviceProfile
from edgecnn.measure import statistics
from edgecnn.measure.device import Device, ThisMachine
from edgecnn.measure.profiles import Profile
from edgecnn.measure.reasons import Grade, Reason, grade_of, reasons_for

STEP = "latency"
ENOUGH_FOR_INTERVAL = 5
"""Processes below which a bootstrap over them is not worth the name."""

Interval = Literal["ci95", "range"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing to measure: `batch` images per inference, and with `end_to_end` also from 8-bit pixels to the class.
    `options` go to the backend."""

    name: str
    artifact: Artifact
    backend: str
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    end_to_end: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """One fresh process of one arm: raw samples in ns per run, memory in bytes (the delta is over the imported
    runtime)."""

    block: int
    position: int
    samples_ns: tuple[float, ...]
    runs_per_sample: int
    load_ns: int
    first_ns: int
    peak_rss_bytes: int | None
    peak_rss_delta_bytes: int | None
    steady: bool
    other_load: float | None
    facts: Mapping[str, Any]

    @property
    def median_ns(self) -> float:
        return float(np.median(self.samples_ns))


@dataclass(frozen=True, slots=True)
class Latency:
    """What the processes of one arm say together.

    `median_ns` is the median of the processes' medians, in [`median_low_ns`, `median_high_ns`]: a bootstrap 95 %
    interval over processes (`ci95`), or their smallest and largest (`range`). `p90_ns` is the median of the
    processes' nearest-rank p90; `p90_bound_ns` is the largest of their 99 % upper bounds, None when a process has too
    few samples. `load_ns` and `first_ns` are of a cold process with a warm page cache.
    """

    name: str
    backend: str
    threads: int
    sha256: str
    profile: str
    seed: int
    processes: tuple[Process, ...]
    interval: Interval
    median_ns: float
    median_low_ns: float
    median_high_ns: float
    p90_ns: float
    p90_bound_ns: float | None
    load_ns: float
    first_ns: float
    peak_rss_bytes: int | None
    peak_rss_delta_bytes: int | None
    reasons: tuple[Reason, ...]

    @property
    def samples(self) -> int:
        return sum(len(process.samples_ns) for process in self.processes)

    @property
    def grade(self) -> Grade:
        return grade_of(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Everything, raw samples included: the archive."""
        return {**asdict(self), "grade": self.grade}

    def summary(self) -> dict[str, Any]:
        """Everything but the raw samples, and the machine's facts as the first process saw them."""
        counts = {"processes": len(self.processes), "samples": self.samples, "grade": self.grade}
        return {**asdict(replace(self, processes=())), **counts, "facts": dict(self.processes[0].facts)}


@dataclass(frozen=True, slots=True)
class Ratio:
    """Baseline time over candidate time, so above 1 the candidate is faster; `interval` as in `Latency`."""

    speedup: float
    low: float
    high: float
    interval: Interval
    blocks: int
    conclusion: str


def measure(
    arms: Sequence[Arm],
    *,
    profile: Profile,
    seed: int,
    tell: Tell,
    device: Device | None = None,
    on_failure: Callable[[Arm, EdgecnnError], None] | None = None,
    expect: DeviceProfile | None = None,
) -> list[Latency]:
    """Measure all arms in `profile.processes` blocks on `device`, this host unless given; results in the order of
    `arms`.

    An arm that fails raises its EdgecnnError; with `on_failure` that is called instead, the arm is left out of the
    remaining blocks and of the results, and the others go on.
    """
    _check_names(arms)
    device = device or ThisMachine()
    rng = np.random.default_rng(seed)
    taken: dict[str, list[Process]] = {arm.name: [] for arm in arms}
    failed: set[str] = set()
    done, total, begin = 0, len(arms) * profile.processes, time.monotonic()
    tell(Started(STEP))
    for block in range(profile.processes):
        for position, index in enumerate(rng.permutation(len(arms))):
            arm = arms[index]
            if arm.name not in failed:
                try:
                    on_event = _teller(tell, done, total, arm)
                    taken[arm.name].append(_process(arm, profile, device, (block, position), on_event))
                except EdgecnnError as error:
                    if on_failure is None:
                        raise
                    failed.add(arm.name)
                    on_failure(arm, error)
            done += 1
            tell(Progress(STEP, done, total, "processes", arm.name))
    tell(Finished(STEP, time.monotonic() - begin))
    return [summarise(arm, taken[arm.name], profile=profile, seed=seed) for arm in arms if arm.name not in failed]


def _check_names(arms: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("duplicate-arm", f"measured twice under one name: {', '.join(twice)}", hint="name each once")


def _teller(tell: Tell, done: int, total: int, arm: Arm) -> Callable[[Mapping[str, Any]], None]:
    def on_event(event: Mapping[str, Any]) -> None:
        tell(Progress(STEP, done, total, "processes", f"{arm.name}: {event.get('name', event['event'])}"))

    return on_event


def _process(
    arm: Arm,
    profile: Profile,
    device: Device,
    place: tuple[int, int],
    on_event: Callable[[Mapping[str, Any]], None],
) -> Process:
    with tempfile.TemporaryDirectory(prefix="edgecnn-latency-") as folder:
        output = Path(folder) / "samples.npy"
        job = {
            "verb": "latency",
            "backend": arm.backend,
            "threads": arm.threads,
            "options": dict(arm.options),
            **profile.job_fields(),
        }
        result = device.run(
            job,
            files={"model": arm.artifact.path},
            outputs={"output": output},
            on_event=on_event,
            timeout_s=profile.timeout_s,
        )
        totals = np.load(output, allow_pickle=False)
    return Process(
        block=place[0],
        position=place[1],
        samples_ns=tuple((totals / result["runs_per_sample"]).tolist()),
        **{key: result[key] for key in ("runs_per_sample", "load_ns", "first_ns", "peak_rss_bytes", "steady")},
        **{key: result[key] for key in ("peak_rss_delta_bytes", "other_load")},
        facts={**result["facts"], **{key: result[key] for key in ("loadavg", "warmup_runs", "import_ns")}},
    )


def summarise(arm: Arm, processes: Sequence[Process], *, profile: Profile, seed: int) -> Latency:
    """One Latency from the raw samples of an arm's processes."""
    medians = [process.median_ns for process in processes]
    enough = len(medians) >= ENOUGH_FOR_INTERVAL
    low, high = statistics.bootstrap_median(medians, seed=seed) if enough else (min(medians), max(medians))
    bounds = [statistics.early_stopping_bound(process.samples_ns, 90) for process in processes]
    return Latency(
        name=arm.name,
        backend=arm.backend,
        threads=arm.threads,
        sha256=arm.artifact.sha256,
        profile=profile.name,
        seed=seed,
        processes=tuple(processes),
        interval="ci95" if enough else "range",
        median_ns=float(np.median(medians)),
        median_low_ns=low,
        median_high_ns=high,
        p90_ns=float(np.median([statistics.nearest_rank(process.samples_ns, 90) for process in processes])),
        p90_bound_ns=None if None in bounds else max(bound for bound in bounds if bound is not None),
        load_ns=float(np.median([process.load_ns for process in processes])),
        first_ns=float(np.median([process.first_ns for process in processes])),
        peak_rss_bytes=_largest([process.peak_rss_bytes for process in processes]),
        peak_rss_delta_bytes=_largest([process.peak_rss_delta_bytes for process in processes]),
        reasons=reasons_for(processes, threads=arm.threads, min_iterations=profile.min_iterations),
    )


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def compare(candidate: Latency, baseline: Latency) -> Ratio:
    """How much faster the candidate is, from the ratio within each block they shared.

    The mean of the log ratios with Student's t interval (three blocks or more), else the range. "faster" or "slower"
    needs an interval without 1 and an effect of at least 1 % and twice the coefficient of variation of either arm's
    process medians.
    """
    before = {process.block: process.median_ns for process in baseline.processes}
    logs = [math.log(before[p.block] / p.median_ns) for p in candidate.processes if p.block in before]
    if not logs:
        raise InputError(
            "not-interleaved", f"'{candidate.name}' and '{baseline.name}' were not measured in the same blocks"
        )
    centre = float(np.mean(logs))
    enough = len(logs) >= 3
    low, high = statistics.mean_interval(logs) if enough else (min(logs), max(logs))
    noise = max(
        statistics.coefficient_of_variation([process.median_ns for process in arm.processes])
        for arm in (candidate, baseline)
    )
    threshold = math.log1p(max(0.01, 2 * noise))
    if not enough:
        conclusion = "too few processes to tell"
    elif (low > 0 or high < 0) and abs(centre) >= threshold:
        conclusion = "faster" if centre > 0 else "slower"
    else:
        conclusion = "no measurable difference"
    return Ratio(math.exp(centre), math.exp(low), math.exp(high), "ci95" if enough else "range", len(logs), conclusion)
