"""Gates of a check: what is asked of the candidate, each with its outcome and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, scoped
from edgecnn.core.quantities import in_words
from edgecnn.core.units import count
from edgecnn.measure.comparison import LEAST_EFFECT
from edgecnn.measure.connection import connect
from edgecnn.measure.effort import profile_named
from edgecnn.measure.grade import grade_of
from edgecnn.measure.latency import Candidate, Latency, compare, measure
from edgecnn.measure.reasons import BY_LOAD
from edgecnn.predict.predictor import RuntimePredictor
from edgecnn.report.check.model import Gate, LatencyRatio
from edgecnn.tasks.differences import Differences
from edgecnn.tasks.task import Judgement
from edgecnn.workflows.check.sides import ModelSide, Side

NAMED = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: shares and bytes; None asks nothing."""

    max_drop: float
    max_class_drop: float | None = None
    max_latency_ratio: float | None = None
    max_size: int | None = None


def gates(
    asked: Asked,
    judgement: Judgement,
    differences: Differences,
    latency: LatencyRatio | None,
    size_bytes: int,
    *,
    whole: bool = True,
) -> Iterator[Gate]:
    """Each that was asked for; accuracy always. `whole`: all images were judged on."""
    needed = (
        f"; about {judgement.images_needed:,} images would decide it, with 80 % probability"
        if judgement.images_needed
        else ""
    )
    yield Gate("accuracy", judgement.outcome, judgement.why + needed)
    if asked.max_class_drop is not None:
        yield _classes(differences, asked.max_class_drop, whole=whole)
    if asked.max_latency_ratio is not None and latency is not None:
        yield _latency(latency, asked.max_latency_ratio)
    if asked.max_size is not None:
        fits = size_bytes <= asked.max_size
        said = f"the file has {in_words(size_bytes, 'B')}; the budget is {in_words(asked.max_size, 'B')}"
        yield Gate("size", "PASS" if fits else "FAIL", said)


def _classes(differences: Differences, max_drop: float, *, whole: bool) -> Gate:
    """No class may be shown to lose more than is allowed. That one does not is not proved: few have images enough."""
    allowed = f"{100 * max_drop:g} %"
    if not differences.groups:
        return Gate("classes", "INCONCLUSIVE", "without labels nothing is known of a class")
    if not whole:
        return Gate(
            "classes", "INCONCLUSIVE", "the check stopped early: classes are judged on all images or not at all"
        )
    alarms = differences.alarms
    if not alarms:
        return Gate("classes", "PASS", f"no class is shown to lose more than {allowed} of its images")
    named = ", ".join(f"{group.name} ({100 * group.drop:+.1f} points)" for group in alarms[:NAMED])
    more = f" and {len(alarms) - NAMED} more" if len(alarms) > NAMED else ""
    said = f"{count(len(alarms), 'class')} lost more than {allowed} of {'its' if len(alarms) == 1 else 'their'} images"
    return Gate("classes", "FAIL", f"{said}: {named}{more}")


def _latency(latency: LatencyRatio, limit: float) -> Gate:
    """By the interval, never by one number; within the noise floor of the limit nothing is decided."""
    low = min(latency.low, latency.ratio / (1 + LEAST_EFFECT))
    high = max(latency.high, latency.ratio * (1 + LEAST_EFFECT))
    said = f"the candidate takes {latency.ratio:.3f} times as long [{low:.3f}, {high:.3f}]; the limit is {limit:g}"
    if latency.reasons:
        return Gate("latency", "INCONCLUSIVE", f"{said}, but the measurement decides nothing: {latency.reasons[0]}")
    if high <= limit:
        return Gate("latency", "PASS", said)
    return Gate("latency", "FAIL" if low > limit else "INCONCLUSIVE", said)


def files_to_time(baseline: Side, candidate: Side) -> tuple[RuntimePredictor, RuntimePredictor]:
    """The two files that a runtime can time. Raises InputError unless both are such."""
    pair = [side.predictor if isinstance(side, ModelSide) else None for side in (baseline, candidate)]
    before, after = pair
    if not isinstance(before, RuntimePredictor) or not isinstance(after, RuntimePredictor):
        raise InputError(
            "needs-export",
            "a latency ratio needs two exported files",
            why="a checkpoint or a baseline file is not run beside the candidate",
            hint="give two .onnx or .tflite files, or leave out --max-latency-ratio",
        )
    return before, after


def time_pair(
    pair: tuple[RuntimePredictor, RuntimePredictor], *, profile: str, seed: int, listener: Listener
) -> LatencyRatio:
    """Measure both interleaved, in fresh processes, where they run. Raises what measuring raises."""
    target = pair[0].target
    with connect(target, [predictor.backend for predictor in pair]) as connection:
        candidates = [
            Candidate(name, file.artifact, file.backend, file.threads or connection.usable_cores)
            for name, file in zip(("baseline", "candidate"), pair, strict=True)
        ]
        before, after = measure(
            candidates,
            profile=profile_named(profile),
            seed=seed,
            listener=scoped(listener, f"measure {profile}"),
            device=connection.device,
            expect=target,
        )
    return ratio_of(before, after)


def ratio_of(before: Latency, after: Latency) -> LatencyRatio:
    """How many times as long the candidate takes, and what keeps that from deciding anything."""
    speed = compare(after, before)
    reasons = [
        f"{latency.name}: {reason}"
        for latency in (before, after)
        for reason in latency.reasons
        if reason.code in BY_LOAD
    ]
    if before.emulated or after.emulated:
        reasons.insert(0, "the board is emulated, and its times say nothing")
    elif "invalid" in (before.grade, after.grade):
        reasons.insert(0, "the measurement is graded invalid")
    elif speed.interval != "ci95":
        reasons.append(f"{count(speed.blocks, 'process')} a file give no interval: use --profile standard")
    return LatencyRatio(
        ratio=1 / speed.speedup,
        low=1 / speed.high,
        high=1 / speed.low,
        interval=speed.interval,
        blocks=speed.blocks,
        baseline_ms=before.times.median_ns / 1e6,
        candidate_ms=after.times.median_ns / 1e6,
        grade=grade_of((*before.reasons, *after.reasons)),
        reasons=tuple(reasons),
    )


def limit_of(value: float | str | None) -> float | None:
    """`0.8` or `80%` as a ratio. Raises InputError for anything but a number above 0."""
    if value is None:
        return None
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError("bad-max-latency-ratio", f"--max-latency-ratio {value}: no ratio", hint="write 0.8 or 80%")
    return number
