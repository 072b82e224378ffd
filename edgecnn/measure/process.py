"""What is measured, and what one fresh process of it said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.measure.telemetry import Telemetry, plain


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
    """One fresh process of one arm: raw samples in ns per run, memory in bytes (the delta is over the imported
    runtime). `e2e_ns` are those from pixels to the answer; `findings` what the backend found wrong, by code."""

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
        runs = _whole(result["runs_per_sample"], least=1)
        return Process(
            block=place[0],
            position=place[1],
            samples_ns=_series(samples, runs),
            runs_per_sample=runs,
            load_ns=_whole(result["load_ns"]),
            first_ns=_whole(result["first_ns"]),
            peak_rss_bytes=_whole_or_none(result.get("peak_rss_bytes")),
            peak_rss_delta_bytes=_whole_or_none(result.get("peak_rss_delta_bytes")),
            steady=result["steady"] is True,
            other_load=_share(result.get("other_load")),
            facts={
                **_facts(result["facts"]),
                **{key: result.get(key) for key in ("loadavg", "warmup_runs", "import_ns")},
            },
            telemetry=Telemetry.parse(result.get("telemetry")),
            e2e_ns=None if end_to_end is None else _end_to_end(end_to_end, result),
            batch=_whole(result["batch"], least=1),
            cooled_s=float(result.get("cooled_s", 0.0)),
            findings={plain(code): plain(text) for code, text in dict(result.get("findings") or {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise StepError(
            "bad-result", "what came back from the measurement is no result", why=f"{type(error).__name__}: {error}"
        ) from error


def _facts(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the machine says of itself; what it is judged by is of the right type, or None."""
    facts = {str(key): value for key, value in told.items()}
    for key, kind in (("usable_cores", int), ("governor", str), ("boot_id", str), ("board", str), ("emulated", bool)):
        if not isinstance(facts.get(key), kind):
            facts[key] = None
    return facts


def _series(path: Path, runs: int) -> tuple[float, ...]:
    """The samples of a file in ns per run."""
    totals = np.load(path, allow_pickle=False)
    if totals.ndim != 1 or totals.dtype.kind not in "iu" or not len(totals) or totals.min() <= 0:
        raise ValueError(f"samples are {totals.dtype} {totals.shape}, or not all positive")
    return tuple((totals / runs).tolist())


def _end_to_end(path: Path, result: Mapping[str, Any]) -> tuple[float, ...] | None:
    """None where the model does not take one image: then the array is empty."""
    if not len(np.load(path, allow_pickle=False)):
        return None
    return _series(path, _whole(result["e2e_runs_per_sample"], least=1))


def _whole(value: object, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 60:
        raise ValueError(f"{value!r:.40} is no whole number from {least}")
    return value


def _whole_or_none(value: object) -> int | None:
    return None if value is None else _whole(value)


def _share(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return min(1.0, max(0.0, float(value)))
    return None
