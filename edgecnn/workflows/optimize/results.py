"""Results: the rows of a report, from what is known of each artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from edgecnn.config.recipe import Budget
from edgecnn.core.artifact import Kind
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.outcome import Outcome
from edgecnn.core.quantities import in_words
from edgecnn.report.model import Accuracy, Row
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.tasks.task import Answers, Judgement, Task
from edgecnn.workflows.optimize.assessment import Assessment
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.file_names import file_name
from edgecnn.workflows.optimize.recommendation import OUTCOMES_WORST_FIRST

NO_DATA = "no images were given, so nothing could be judged: use --data"
FEW_IMAGES = 50
"""Fewer than these prove next to nothing."""


def rows(
    executions: Sequence[Execution],
    assessments: Mapping[Kind, Assessment],
    baseline: Answers | None,
    *,
    task: Task,
    max_drop: float,
    confidence: float = CONFIDENCE,
) -> list[Row]:
    """One row per artifact made, failed or skipped, format by format, FP32 first. `baseline` are the checkpoint's
    answers in PyTorch to the evaluation images, None where there are no such images. Each outcome holds with
    `confidence`.

    Where the checkpoint itself is no better than chance, or answers one class only, agreeing with it proves nothing:
    its candidates are INCONCLUSIVE.
    """
    made: list[Row] = []
    compare = partial(task.compare, max_drop=max_drop, confidence=confidence)
    doubt = _doubt(baseline, task) if baseline else ""
    for execution in executions:
        for kind in execution.artifacts:
            assessment = assessments[kind]
            judgement = None if kind.is_baseline else _judgement(assessment, baseline, compare)
            row = _row(assessment, judgement, task if baseline else None)
            if doubt and row.outcome is not None:
                row = replace(row, outcome="INCONCLUSIVE", outcome_why=doubt)
            made.append(row)
        made.extend(_lost(kind, error) for kind, error in execution.failed.items())
        made.extend(
            Row(kind.format, kind.precision, "", "skipped", reason, variant=kind.variant)
            for kind, reason in execution.skipped.items()
        )
    return made


def _lost(kind: Kind, error: EdgecnnError) -> Row:
    why = f" ({error.why})" if error.why else ""
    return Row(kind.format, kind.precision, "", "failed", f"{error.message}{why}", variant=kind.variant)


def _row(assessment: Assessment, judgement: Judgement | None, task: Task | None) -> Row:
    artifact = assessment.artifact
    if assessment.error is not None:
        return _lost(artifact.kind, assessment.error)
    return Row(
        format=artifact.format,
        precision=artifact.precision,
        backend=assessment.deployment.backend,
        status="ok",
        file=file_name(artifact.kind),
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        outcome=judgement.outcome if judgement else None,
        outcome_why=_why(judgement),
        accuracy=_accuracy(assessment, judgement, task) if task else None,
        parity=assessment.parity,
        speed=assessment.speed,
        fusion=assessment.fusion,
        warnings=assessment.fusion.warnings if assessment.fusion else (),
        variant=artifact.variant,
    )


def _judgement(
    assessment: Assessment, baseline: Answers | None, compare: Callable[[Answers, Answers], Judgement]
) -> Judgement:
    if baseline is None:
        return Judgement("INCONCLUSIVE", NO_DATA)
    if assessment.answers is None:
        return Judgement("INCONCLUSIVE", "the file has not answered any image")
    return compare(baseline.on(assessment.answers.images), assessment.answers)


def _why(judgement: Judgement | None) -> str:
    if judgement is None:
        return ""
    if judgement.images_needed:
        return f"{judgement.why}; about {judgement.images_needed:,} images would decide it (80 % power)"
    return judgement.why


def _accuracy(assessment: Assessment, judgement: Judgement | None, task: Task) -> Accuracy | None:
    answers = assessment.answers
    if answers is None:
        return None
    quality = None if answers.labels is None else task.quality(answers)
    counted = quality is not None and quality.correct is not None
    drop = judgement.drop if judgement else None
    flips = judgement.flips if judgement else None
    return Accuracy(
        runtime=assessment.runs_on,
        images=len(answers),
        correct=quality.correct if quality else None,
        top1=quality.value if quality and counted else None,
        agreement=judgement.agreement if judgement else None,
        broke=flips.broke if flips else None,
        fixed=flips.fixed if flips else None,
        drop=drop.value if drop else None,
        drop_low=drop.low if drop else None,
        drop_high=drop.high if drop else None,
        stand_in=_stand_in(assessment),
        metric=task.metric.name,
        score=quality.value if quality and not counted else None,
    )


def _stand_in(assessment: Assessment) -> str:
    if not assessment.is_stand_in:
        return ""
    half = assessment.artifact.precision == "fp16"
    how = "with weights in FP16 and its CPU kernels' arithmetic" if half else "as written"
    return f"{assessment.deployment.backend} is not on this host; the graph is computed {how}"


def limited(made: Sequence[Row], finals: Sequence[Kind | None], *, budget: Budget, here: bool) -> list[Row]:
    """The rows, with the size and the latency of what each format ends in held against the budget.

    `here`: times were taken on the target itself.
    """
    shipped = {str(kind) for kind in finals if kind is not None}
    return [_limited(row, budget, here=here) if row.name in shipped else row for row in made]


def _limited(row: Row, budget: Budget, *, here: bool) -> Row:
    if row.status != "ok" or row.outcome is None:
        return row
    outcomes = [(row.outcome, row.outcome_why)]
    if budget.max_size is not None and row.size_bytes is not None:
        fits = row.size_bytes <= budget.max_size
        said = f"it has {in_words(row.size_bytes, 'B')}; the budget is {in_words(budget.max_size, 'B')}"
        outcomes.append(("PASS" if fits else "FAIL", said))
    if budget.max_latency is not None:
        outcomes.append(_latency(row, budget.max_latency, here=here))
    passed: Outcome = "PASS"
    worst = next((word for word in OUTCOMES_WORST_FIRST if any(word == item for item, _ in outcomes)), passed)
    return replace(row, outcome=worst, outcome_why="; ".join(why for item, why in outcomes if item == worst))


def _latency(row: Row, limit: float, *, here: bool) -> tuple[Outcome, str]:
    """Whether the median latency of one image is within `limit` ms, as far as its interval tells."""
    speed = row.speed
    if speed is None or not here or not speed.counts:
        return "INCONCLUSIVE", f"the latency was not measured on the target; the budget is {limit:g} ms"
    said = (
        f"the median is between {speed.median_low_ms:.3g} and {speed.median_high_ms:.3g} ms; the budget is {limit:g} ms"
    )
    if speed.median_high_ms <= limit:
        return "PASS", said
    if speed.disturbed:
        return "INCONCLUSIVE", f"{said}, and other programs disturbed the measurement"
    return ("FAIL" if speed.median_low_ms > limit else "INCONCLUSIVE"), said


def _doubt(baseline: Answers, task: Task) -> str:
    """What is wrong with the checkpoint's own answers."""
    if baseline.labels is None or len(baseline) < FEW_IMAGES:
        return ""
    return next(iter(task.suspicions(baseline)), "")


def doubts(assessments: Mapping[Kind, Assessment], baseline: Answers | None, task: Task) -> list[str]:
    """Signs that something other than compression is wrong, each said once."""
    said: list[str] = []
    for assessment in assessments.values():
        answers = assessment.answers
        if not answers or answers.labels is None or baseline is None:
            continue
        if len(answers) < FEW_IMAGES:
            said.append(f"only {len(answers)} images: expect INCONCLUSIVE; add images")
        else:
            said.extend(task.suspicions(baseline.on(answers.images), answers))
    return list(dict.fromkeys(said))
