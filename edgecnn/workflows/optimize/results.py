"""From evidence to a report: rows, judgements, what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from edgecnn.config.recipe import Budget
from edgecnn.core.artifact import Kind
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.outcome import Outcome
from edgecnn.core.quantities import in_words
from edgecnn.report.model import Accuracy, Row
from edgecnn.tasks.classification.predictions import at, top1
from edgecnn.tasks.classification.verdict import Judgement, judge, suspicions
from edgecnn.workflows.optimize.assessment import Assessment
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.file_names import file_name
from edgecnn.workflows.optimize.recommendation import OUTCOMES_WORST_FIRST, _timed

NO_DATA = "no images were given, so nothing could be judged: use --data"


def rows(
    executions: Sequence[Execution],
    found: Mapping[Kind, Assessment],
    *,
    labels: Sequence[int] | None,
    judged: bool,
    max_drop: float,
    num_classes: int,
) -> list[Row]:
    """One row per artifact made, failed or skipped, lane by lane, FP32 first.

    Where FP32 itself is no better than chance, or answers one class only, agreeing with it proves nothing: its
    candidates are INCONCLUSIVE.
    """
    made: list[Row] = []
    for execution in executions:
        baseline = found.get(Kind(execution.format, "fp32"))
        doubt = next(iter(_doubts_of(baseline, labels, num_classes)), "") if judged and baseline is not None else ""
        for kind in execution.artifacts:
            row = _row(found[kind], baseline, labels=labels, judged=judged, max_drop=max_drop)
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


def _row(
    assessment: Assessment, baseline: Assessment | None, *, labels: Sequence[int] | None, judged: bool, max_drop: float
) -> Row:
    artifact = assessment.artifact
    if assessment.error is not None:
        return _lost(artifact.kind, assessment.error)
    judgement = _judgement(assessment, baseline, labels=labels, judged=judged, max_drop=max_drop)
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
        accuracy=_accuracy(assessment, judgement, labels) if judged else None,
        parity=assessment.parity,
        speed=assessment.speed,
        fusion=asdict(assessment.fusion) if assessment.fusion else None,
        warnings=assessment.fusion.warnings if assessment.fusion else (),
        variant=artifact.variant,
    )


def _judgement(
    assessment: Assessment, baseline: Assessment | None, *, labels: Sequence[int] | None, judged: bool, max_drop: float
) -> Judgement | None:
    if assessment is baseline:
        return None
    if not judged:
        return Judgement("INCONCLUSIVE", NO_DATA, None, None, None, None, None, None, None)
    if baseline is None or baseline.answers is None or assessment.answers is None:
        return Judgement(
            "INCONCLUSIVE", "there is no FP32 file to compare with", None, None, None, None, None, None, None
        )
    positions = assessment.positions
    expected = top1(at(positions, baseline.answers))
    truth = None if labels is None else at(positions, np.asarray(labels)).tolist()
    return judge(expected, top1(assessment.answers), truth, max_drop=max_drop)


def _why(judgement: Judgement | None) -> str:
    if judgement is None:
        return ""
    if judgement.images_needed:
        return f"{judgement.why}; about {judgement.images_needed:,} images would decide it (80 % power)"
    return judgement.why


def _accuracy(assessment: Assessment, judgement: Judgement | None, labels: Sequence[int] | None) -> Accuracy | None:
    if assessment.answers is None:
        return None
    predicted = top1(assessment.answers)
    correct = None if labels is None else int((predicted == at(assessment.positions, np.asarray(labels))).sum())
    stand_in = ""
    if assessment.is_stand_in:
        half = assessment.artifact.precision == "fp16"
        how = "with weights in FP16 and its CPU kernels' arithmetic" if half else "as written"
        stand_in = f"{assessment.deployment.backend} is not on this host; the graph is computed {how}"
    return Accuracy(
        runtime=assessment.runs_on,
        images=len(predicted),
        correct=correct,
        top1=None if correct is None else correct / len(predicted),
        agreement=judgement.agreement if judgement else None,
        broke=judgement.broke if judgement else None,
        fixed=judgement.fixed if judgement else None,
        drop=judgement.drop if judgement else None,
        drop_low=judgement.drop_low if judgement else None,
        drop_high=judgement.drop_high if judgement else None,
        stand_in=stand_in,
    )


def limited(made: Sequence[Row], finals: Sequence[Kind | None], *, budget: Budget, here: bool) -> list[Row]:
    """The rows, with the size and the latency of what each lane ends in held against the budget.

    `here`: times were taken on the target itself.
    """
    shipped = {str(kind) for kind in finals if kind is not None}
    return [_limited(row, budget, here=here) if row.name in shipped else row for row in made]


def _limited(row: Row, budget: Budget, *, here: bool) -> Row:
    if row.status != "ok" or row.outcome is None:
        return row
    found = [(row.outcome, row.outcome_why)]
    if budget.max_size is not None and row.size_bytes is not None:
        fits = row.size_bytes <= budget.max_size
        said = f"it has {in_words(row.size_bytes, 'B')}; the budget is {in_words(budget.max_size, 'B')}"
        found.append(("PASS" if fits else "FAIL", said))
    if budget.max_latency is not None:
        found.append(_latency(row, budget.max_latency, here=here))
    passed: Outcome = "PASS"
    worst = next((word for word in OUTCOMES_WORST_FIRST if any(word == item for item, _ in found)), passed)
    return replace(row, outcome=worst, outcome_why="; ".join(why for item, why in found if item == worst))


def _latency(row: Row, limit: float, *, here: bool) -> tuple[Outcome, str]:
    """Whether the median latency of one image is within `limit` ms, as far as its interval tells."""
    speed = row.speed
    if speed is None or not here or not _timed(row):
        return "INCONCLUSIVE", f"the latency was not measured on the target; the budget is {limit:g} ms"
    said = (
        f"the median is between {speed.median_low_ms:.3g} and {speed.median_high_ms:.3g} ms; the budget is {limit:g} ms"
    )
    if speed.median_high_ms <= limit:
        return "PASS", said
    return ("FAIL" if speed.median_low_ms > limit else "INCONCLUSIVE"), said


def _doubts_of(baseline: Assessment, labels: Sequence[int] | None, num_classes: int) -> list[str]:
    """What is wrong with the FP32 file's own answers."""
    if baseline.answers is None or labels is None:
        return []
    answers = top1(baseline.answers)
    return [said for said in suspicions(answers, answers, labels, num_classes=num_classes) if "the baseline" in said]


def doubts(found: Mapping[Kind, Assessment], labels: Sequence[int] | None, num_classes: int) -> list[str]:
    """Signs that something other than compression is wrong, each said once."""
    said: list[str] = []
    for assessment in found.values():
        if assessment.answers is None or labels is None:
            continue
        base = found.get(Kind(assessment.artifact.format, "fp32"))
        if base is None or base.answers is None:
            continue
        expected, truth = at(assessment.positions, base.answers), at(assessment.positions, np.asarray(labels))
        said.extend(suspicions(top1(expected), top1(assessment.answers), truth.tolist(), num_classes=num_classes))
    return list(dict.fromkeys(said))
