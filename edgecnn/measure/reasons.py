"""Reasons that limit the trust in a latency: its design, its samples, the machine, and the board's own readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecnn.core.device import DeviceProfile
from edgecnn.core.units import count
from edgecnn.formats.registry import runs_on_gpu
from edgecnn.measure.conditions import of_board
from edgecnn.measure.grade import Effect, Grade, Reason, grade_of
from edgecnn.measure.process import Candidate, Process
from edgecnn.statistics import samples

__all__ = ["Effect", "Grade", "Reason", "grade_of", "reasons_for"]

BUSY = 0.10
"""Share of the machine's CPU time that others may use while we measure."""
RUNNING = 0.90
"""Share of the wall time for which a process that computes on the CPU has to have it."""
BY_LOAD = ("other-load", "cpu-waits")
"""Reasons that other programs give: times so spoiled may be shown, and decide nothing."""
RUINOUS = ("cpu-fallback", "engine-mismatch", "model-mismatch", "output-mismatch")
"""Findings of a backend that make its times those of something else; any other finding is a note."""


def reasons_for(
    processes: Sequence[Process], *, candidate: Candidate, min_iterations: int, expect: DeviceProfile | None = None
) -> tuple[Reason, ...]:
    """Everything that limits what these processes' samples can claim; `expect` is what their readings are held
    against."""
    gpu = runs_on_gpu(candidate.backend) or str(candidate.options.get("device", "")).startswith("cuda")
    emulated = any(process.emulated for process in processes)
    return (
        *_of_design(processes, min_iterations),
        *(() if emulated else _of_samples(processes)),  # of times that say nothing there is nothing to say
        *_of_machine(processes, candidate.threads),
        *(() if gpu or emulated else _of_waiting(processes)),
        *of_board(processes, expect=expect, gpu=gpu),
        *_of_backend(processes),
    )


def _of_design(processes: Sequence[Process], min_iterations: int) -> Iterator[Reason]:
    if len(processes) < 3:
        yield Reason("few-processes", "degraded", f"{count(len(processes), 'process')}: indicative only")
    fewest = min(len(process.samples_ns) for process in processes)
    if fewest < min_iterations:
        yield Reason("few-samples", "degraded", f"time ran out at {fewest} of {min_iterations} samples in a process")


def _of_samples(processes: Sequence[Process]) -> Iterator[Reason]:
    total = len(processes)
    unsteady = sum(not process.steady for process in processes)
    if unsteady:
        yield Reason("no-steady-state", "degraded", f"no steady state in {unsteady} of {count(total, 'process')}")
    drifts = [change for process in processes if (change := samples.drift(process.samples_ns))]
    if drifts:
        worst = max(drifts, key=abs)
        yield Reason(
            "drift",
            "degraded",
            f"latency drifted in {len(drifts)} of {count(total, 'process')}, by {worst:+.0%} at worst",
        )
    if samples.two_levels([process.median_ns for process in processes]):
        yield Reason("multimodal", "degraded", "processes fall into two speeds more than 5 % apart")
    batched = max(process.runs_per_sample for process in processes)
    if batched > 1:
        message = f"a sample is the mean of up to {batched} runs, for one run is too short to time"
        yield Reason("batched", "note", message)
    taken = sum(len(process.samples_ns) for process in processes)
    far = sum(samples.outliers(process.samples_ns) for process in processes)
    if far:
        yield Reason("outliers", "note", f"{far} of {taken} samples are outliers (kept)")


def _of_machine(processes: Sequence[Process], threads: int) -> Iterator[Reason]:
    facts = processes[0].facts
    cores = facts.get("usable_cores")
    if cores is not None and threads > cores:
        yield Reason("oversubscribed", "degraded", f"{threads} threads on {count(cores, 'core')}")
    loads = [process.other_load for process in processes if process.other_load is not None]
    if len(loads) < len(processes):
        yield Reason("load-unread", "unknown", "the load of other programs could not be read")
    if (worst := max(loads, default=0.0)) > BUSY:
        yield Reason("other-load", "degraded", f"other programs used up to {worst:.0%} of the CPU meanwhile")
    governor = facts.get("governor")
    locked = all(process.telemetry.before.get("clocks_locked") for process in processes)
    if governor is None:
        yield Reason("clocks-unread", "unknown", "CPU clocks could not be read")
    elif governor != "performance" and not locked:
        yield Reason("clocks-not-locked", "degraded", f"CPU governor is '{governor}', not 'performance'")


def _of_waiting(processes: Sequence[Process]) -> Iterator[Reason]:
    """CPU time beside wall time: a process that waits for the CPU while the clock runs looks slow."""
    least = min((process.own_load for process in processes if process.own_load is not None), default=1.0)
    if least < RUNNING:
        yield Reason("cpu-waits", "degraded", f"it had the CPU for {least:.0%} of the time only")


def _of_backend(processes: Sequence[Process]) -> list[Reason]:
    findings = {code: message for process in processes for code, message in process.findings.items()}
    return [Reason(code, "invalid" if code in RUINOUS else "note", message) for code, message in findings.items()]
