"""Candidate of a measurement, and the raw samples of one fresh process of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.third_party import first_line
from edgecnn.measure.telemetry import Telemetry
from edgecnn.measure.wire.answers import DeviceFacts, LatencyAnswer
from edgecnn.measure.wire.arrays import read_samples


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to measure. `options` go to the backend; `batch` images go in at a time; `end_to_end` adds a second
    series, from 8-bit pixels in memory to the best class, when the model takes one image."""

    name: str
    artifact: Artifact
    backend: str
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    end_to_end: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """One fresh process of one candidate: raw samples in ns per run, memory in bytes (the delta is over the imported
    runtime). `own_load` is how many cores it kept busy while the clock ran. `e2e_ns` are the samples from pixels to the
    answer; `findings` what the backend found wrong, by code."""

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
    telemetry: Telemetry = field(default_factory=Telemetry)
    e2e_ns: tuple[float, ...] | None = None
    batch: int = 1
    cooled_s: float = 0.0
    findings: Mapping[str, str] = field(default_factory=dict)
    own_load: float | None = None

    @property
    def median_ns(self) -> float:
        return float(np.median(self.samples_ns))

    @property
    def emulated(self) -> bool:
        """Whether another machine played the board."""
        return self.facts.get("emulated") is True


def process_of(result: Mapping[str, Any], samples: Path, end_to_end: Path | None, *, place: tuple[int, int]) -> Process:
    """A Process from the `result` of a latency job and the arrays it wrote; `place` is its block and position.

    Raises StepError bad-result for what cannot be one: a board is not trusted.
    """
    try:
        answer = LatencyAnswer.read(result)
        samples_ns = read_samples(samples, answer.runs_per_sample)
        e2e_ns = read_samples(end_to_end, answer.e2e_runs_per_sample or 1) if end_to_end else ()
        if not samples_ns:
            raise ValueError("no samples")
    except (StepError, ValueError, OSError) as error:
        raise StepError(
            "bad-result", "what came back from the measurement is no result", why=first_line(error)
        ) from error
    other_load = answer.other_load
    return Process(
        block=place[0],
        position=place[1],
        samples_ns=samples_ns,
        runs_per_sample=answer.runs_per_sample,
        load_ns=answer.load_ns,
        first_ns=answer.first_ns,
        peak_rss_bytes=answer.peak_rss_bytes,
        peak_rss_delta_bytes=answer.peak_rss_delta_bytes,
        steady=answer.steady,
        other_load=None if other_load is None else min(1.0, max(0.0, other_load)),
        facts=_facts(answer),
        telemetry=Telemetry.of(answer.telemetry),
        e2e_ns=e2e_ns or None,  # empty where the model does not take one image
        batch=answer.batch,
        cooled_s=answer.cooled_s or 0.0,
        findings=answer.findings,
        own_load=answer.own_load,
    )


def _facts(answer: LatencyAnswer) -> dict[str, Any]:
    """What the machine says of itself; what it is judged by is of the right type, or None."""
    judged = DeviceFacts.read(answer.facts).model_dump(
        include={"usable_cores", "governor", "boot_id", "board", "emulated"}
    )
    of_process = {"loadavg": answer.loadavg, "warmup_runs": answer.warmup_runs, "import_ns": answer.import_ns}
    return {**answer.facts, **judged, **of_process}
