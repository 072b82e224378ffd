"""What limits the trust in a latency: findings with an effect, and the grade that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgecnn.measure import statistics

if TYPE_CHECKING:
    from edgecnn.measure.latency import Process

Effect = Literal["invalid", "degraded", "unknown", "note"]
Grade = Literal["valid", "degraded", "unknown", "invalid"]
BUSY = 0.10
"""Share of the machine's CPU time that others may use while we measure."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A finding; `effect` is the grade it forces, or `note` when it forces none."""

    code: str
    effect: Effect
    message: str

    def __str__(self) -> str:
        return self.message


def grade_of(reasons: Sequence[Reason]) -> Grade:
    """The worst effect: invalid, then degraded, then unknown; valid when nothing was found."""
    effects = {reason.effect for reason in reasons}
    grades: tuple[Grade, ...] = ("invalid", "degraded", "unknown")
    return next((grade for grade in grades if grade in effects), "valid")


def reasons_for(processes: Sequence[Process], *, threads: int, min_iterations: int) -> tuple[Reason, ...]:
    """Everything that limits what these processes' samples can claim."""
    return (*_of_design(processes, min_iterations), *_of_samples(processes), *_of_machine(processes, threads))


def _of_design(processes: Sequence[Process], min_iterations: int) -> list[Reason]:
    found = []
    if len(processes) < 3:
        found.append(Reason("few-processes", "degraded", f"{_count(len(processes), 'process')}: indicative only"))
    fewest = min(len(process.samples_ns) for process in processes)
    if fewest < min_iterations:
        found.append(
            Reason("few-samples", "degraded", f"time ran out at {fewest} of {min_iterations} samples in a process")
        )
    return found


def _of_samples(processes: Sequence[Process]) -> list[Reason]:
    found = []
    total = len(processes)
    unsteady = sum(not process.steady for process in processes)
    if unsteady:
        found.append(
            Reason("no-steady-state", "degraded", f"no steady state in {unsteady} of {_count(total, 'process')}")
        )
    drifts = [change for process in processes if (change := statistics.drift(process.samples_ns))]
    if drifts:
        worst = max(drifts, key=abs)
        found.append(
            Reason(
                "drift",
                "degraded",
                f"latency drifted in {len(drifts)} of {_count(total, 'process')}, by {worst:+.0%} at worst",
            )
        )
    if statistics.two_levels([process.median_ns for process in processes]):
        found.append(Reason("multimodal", "degraded", "processes fall into two speeds more than 5 % apart"))
    batched = max(process.runs_per_sample for process in processes)
    if batched > 1:
        found.append(
            Reason("batched", "note", f"a sample is the mean of up to {batched} runs, for one run is too short to time")
        )
    samples = sum(len(process.samples_ns) for process in processes)
    far = sum(statistics.outliers(process.samples_ns) for process in processes)
    if far:
        found.append(Reason("outliers", "note", f"{far} of {samples} samples are outliers (kept)"))
    return found


def _of_machine(processes: Sequence[Process], threads: int) -> list[Reason]:
    found = []
    facts: Mapping[str, Any] = processes[0].facts
    cores = facts["usable_cores"]
    if threads > cores:
        found.append(Reason("oversubscribed", "degraded", f"{threads} threads on {_count(cores, 'core')}"))
    loads = [process.other_load for process in processes]
    if all(load is None for load in loads):
        found.append(Reason("load-unread", "unknown", "the load of other programs could not be read"))
    elif (worst := max(load for load in loads if load is not None)) > BUSY:
        found.append(Reason("other-load", "degraded", f"other programs used up to {worst:.0%} of the CPU meanwhile"))
    if facts["governor"] is None:
        found.append(Reason("clocks-unread", "unknown", "CPU clocks could not be read"))
    elif facts["governor"] != "performance":
        found.append(
            Reason("clocks-not-locked", "degraded", f"CPU governor is '{facts['governor']}', not 'performance'")
        )
    if len({process.facts["boot_id"] for process in processes}) > 1:
        found.append(Reason("rebooted", "invalid", "the machine rebooted between processes"))
    return found


def _count(number: int, word: str) -> str:
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{number} {word if number == 1 else plural}"
