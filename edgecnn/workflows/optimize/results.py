"""From evidence to a report: rows, judgements, what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from edgecnn.core.artifact import SUFFIXES, Artifact, Kind
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.quantities import in_words
from edgecnn.workflows.optimize.assessment import Evidence
from edgecnn.workflows.optimize.execution import Lane
from edgecnn.config.recipe import Budget
from edgecnn.report.model import Accuracy, Row
from edgecnn.core.outcome import Outcome
from edgecnn.tasks.classification.verdict import Judgement, judge, suspicions

OUTCOMES_WORST_FIRST: tuple[Outcome, ...] = ("FAIL", "INCONCLUSIVE")
NO_DATA = "no images were given, so nothing could be judged: use --data"


def rows(
    lanes: Sequence[Lane],
    found: Mapping[Kind, Evidence],
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
    for lane in lanes:
        baseline = found.get(Kind(lane.format, "fp32"))
        doubt = next(iter(_doubts_of(baseline, labels, num_classes)), "") if judged and baseline is not None else ""
        for kind in lane.artifacts:
            row = _row(found[kind], baseline, labels=labels, judged=judged, max_drop=max_drop)
            if doubt and row.outcome is not None:
                row = replace(row, outcome="INCONCLUSIVE", outcome_why=doubt)
            made.append(row)
        made.extend(_lost(kind, error) for kind, error in lane.failed.items())
        made.extend(
            Row(kind.format, kind.precision, "", "skipped", reason, variant=kind.variant)
            for kind, reason in lane.skipped.items()
        )
    return made


def _lost(kind: Kind, error: EdgecnnError) -> Row:
    why = f" ({error.why})" if error.why else ""
    return Row(kind.format, kind.precision, "", "failed", f"{error.message}{why}", variant=kind.variant)


def _row(
    evidence: Evidence, baseline: Evidence | None, *, labels: Sequence[int] | None, judged: bool, max_drop: float
) -> Row:
    artifact = evidence.artifact
    if evidence.error is not None:
        return _lost(artifact.kind, evidence.error)
    judgement = _judgement(evidence, baseline, labels=labels, judged=judged, max_drop=max_drop)
    return Row(
        format=artifact.format,
        precision=artifact.precision,
        backend=evidence.deployment.backend,
        status="ok",
        file=file_name(artifact.kind),
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        outcome=judgement.outcome if judgement else None,
        outcome_why=_why(judgement),
        accuracy=_accuracy(evidence, judgement, labels) if judged else None,
        parity=evidence.parity,
        speed=evidence.speed,
        fusion=asdict(evidence.fusion) if evidence.fusion else None,
        warnings=evidence.fusion.warnings if evidence.fusion else (),
        variant=artifact.variant,
    )


def file_name(kind: Kind) -> str:
    """`model.int8.tflite`, `model.pruned.int8.onnx`; TensorRT's dialect of ONNX says so: `model.tensorrt.int8.onnx`."""
    if kind.format == "torch":
        return f"model.{kind.variant}.safetensors"
    dialect = "tensorrt" if kind.format == "tensorrt" else ""
    return ".".join(part for part in ("model", dialect, kind.variant, kind.precision) if part) + SUFFIXES[kind.format]


def network_files(lanes: Sequence[Lane]) -> dict[str, Artifact]:
    """The changed checkpoints by the names they are delivered under; where the lanes came to different ones (each
    climbs for itself), `model.onnx.pruned.safetensors` says whose it is."""
    found: dict[str, Artifact] = {}
    for kind in dict.fromkeys(kind for lane in lanes for kind in lane.networks):
        made = {lane.format: lane.networks[kind] for lane in lanes if kind in lane.networks}
        if len({artifact.sha256 for artifact in made.values()}) == 1:
            found[file_name(kind)] = next(iter(made.values()))
        else:
            named = {f"model.{format}.{kind.variant}.safetensors": artifact for format, artifact in made.items()}
            found.update(named)
    return found


def _judgement(
    evidence: Evidence, baseline: Evidence | None, *, labels: Sequence[int] | None, judged: bool, max_drop: float
) -> Judgement | None:
    if evidence is baseline:
        return None
    if not judged:
        return Judgement("INCONCLUSIVE", NO_DATA, None, None, None, None, None, None, None)
    if baseline is None or baseline.answers is None or evidence.answers is None:
        return Judgement(
            "INCONCLUSIVE", "there is no FP32 file to compare with", None, None, None, None, None, None, None
        )
    positions = evidence.positions
    expected = top1(at(positions, baseline.answers))
    truth = None if labels is None else at(positions, np.asarray(labels)).tolist()
    return judge(expected, top1(evidence.answers), truth, max_drop=max_drop)


def at(positions: Sequence[int] | None, values: np.ndarray) -> np.ndarray:
    """The values, one for each evaluation image, at `positions`; None for all."""
    return values if positions is None else values[list(positions)]


def top1(logits: np.ndarray) -> np.ndarray:
    """Predicted class per image; an answer that is not finite is no class at all (-1)."""
    predicted: np.ndarray = logits.argmax(axis=1)
    predicted[~np.isfinite(logits).all(axis=1)] = -1
    return predicted


def _why(judgement: Judgement | None) -> str:
    if judgement is None:
        return ""
    if judgement.images_needed:
        return f"{judgement.why}; about {judgement.images_needed:,} images would decide it (80 % power)"
    return judgement.why


def _accuracy(evidence: Evidence, judgement: Judgement | None, labels: Sequence[int] | None) -> Accuracy | None:
    if evidence.answers is None:
        return None
    predicted = top1(evidence.answers)
    correct = None if labels is None else int((predicted == at(evidence.positions, np.asarray(labels))).sum())
    stand_in = ""
    if evidence.is_stand_in:
        half = evidence.artifact.precision == "fp16"
        how = "with weights in FP16 and its CPU kernels' arithmetic" if half else "as written"
        stand_in = f"{evidence.deployment.backend} is not on this host; the graph is computed {how}"
    return Accuracy(
        runtime=evidence.runs_on,
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


def overall(made: Sequence[Row]) -> tuple[Outcome, str]:
    """The worst of the candidates' outcomes: one file that lost its accuracy is enough to stop a release. Files
    that could not be made are not passed in silence."""
    judged = [row for row in made if row.outcome is not None]
    for outcome in OUTCOMES_WORST_FIRST:
        worst = [row for row in judged if row.outcome == outcome]
        if worst:
            return outcome, f"{worst[0].name}: {worst[0].outcome_why}{_not_made(made)}"
    failed = [row.name for row in made if row.status == "failed"]
    if failed:
        return "INCONCLUSIVE", f"{', '.join(failed)} could not be judged{_not_made(made)}"
    if not judged:
        return "INCONCLUSIVE", f"nothing but FP32 was made, so there is nothing to judge{_not_made(made)}"
    high = max(row.accuracy.drop_high for row in judged if row.accuracy and row.accuracy.drop_high is not None)
    lost = f"no candidate loses more than {100 * high:.2f} points of top-1"
    gained = f"all gain {-100 * high:.2f} points of top-1 or more"
    why = f"{lost if high >= 0 else gained}, with 95 % confidence each"
    return "PASS", f"{why}{_stand_ins(judged)}{_not_made(made)}"


def _not_made(made: Sequence[Row]) -> str:
    lost = [row.name for row in made if row.status != "ok"]
    return f"; not made: {', '.join(lost)}" if lost else ""


def _stand_ins(judged: Sequence[Row]) -> str:
    names = [row.name for row in judged if row.accuracy and row.accuracy.stand_in]
    return f"; {', '.join(names)} judged in a stand-in" if names else ""


def conclusions(made: Sequence[Row], *, here: bool, budget: Mapping[str, Any] | None = None) -> list[str]:
    """What an engineer would say who had read the table. `here`: it was measured on the target itself."""
    said = []
    elsewhere = "" if here else " on this host"
    for row in made:
        if row.is_baseline or row.status != "ok":
            continue
        base = next((other for other in made if other.format == row.format and other.is_baseline), None)
        size = ""
        if base is not None and base.size_bytes and row.size_bytes:
            size = f"{base.size_bytes / row.size_bytes:.1f}x smaller"
        said.append(f"{row.name}: {', '.join(part for part in (size, _speed_words(row, elsewhere)) if part)}")
    chosen = recommended(made, budget)
    if chosen is not None:
        fits = _fits(chosen, budget or {})
        over = " (over the budget, as is everything that kept its accuracy)"
        why = _because(chosen, made, elsewhere=elsewhere) if fits else over
        said.append(f"bundled: {chosen.name}{why}")
    return said


def changes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the stages say that they took away from the network."""
    said = []
    for record in records:
        facts = record.get("facts") or {}
        if {"macs", "parameters"} <= set(facts):
            macs, weights = (facts[name]["after"] / max(facts[name]["before"], 1) for name in ("macs", "parameters"))
            said.append(
                f"{record['makes']}: {macs:.1%} of the multiply-adds and {weights:.1%} of the parameters are left"
            )
    return list(dict.fromkeys(said))


def _speed_words(row: Row, elsewhere: str) -> str:
    speed = row.speed
    if speed is None:
        return f"latency not measured: {row.backend} is not on this host" if row.backend == "tensorrt" else ""
    if speed.emulated or speed.grade == "invalid":
        why = "the board is emulated" if speed.emulated else "the measurement is invalid"
        return f"latency not claimed: {why}"
    if speed.speedup is None:
        return ""
    bounds = "" if speed.processes < 2 else f" [{speed.speedup_low:.2f}, {speed.speedup_high:.2f}]"
    figures = f"{speed.speedup:.2f}x of FP32{bounds}"
    not_faster = f"{' '.join(filter(None, (row.precision.upper(), row.variant)))} is not faster here:"
    claims = {
        "faster": f"faster{elsewhere},",
        "slower": f"{not_faster} it is slower{elsewhere},",
        "no measurable difference": f"{not_faster} no measurable difference{elsewhere},",
    }
    return f"{claims.get(speed.conclusion, speed.conclusion + ':')} {figures}"


def recommended(made: Sequence[Row], budget: Mapping[str, Any] | None = None) -> Row | None:
    """What to ship: of the files that passed and fit the budget's `max_size` and `max_latency`, the fastest one that is
    not slower than FP32, or the smallest where nothing was timed; else the fastest FP32 file that fits. Where nothing
    fits, that which comes nearest of what kept its accuracy. What is not proven is never chosen, and of files whose
    times no interval tells apart the smallest is taken."""
    proven = [row for row in made if row.outcome == "PASS" and not _seems_slower(row)]
    baselines = [row for row in made if row.status == "ok" and row.outcome is None]
    fitting = [[row for row in rows if _fits(row, budget or {})] for rows in (proven, baselines)]
    candidates = fitting[0] or fitting[1] or [*proven, *baselines]
    too_large = (budget or {}).get("max_size") is not None and not any(fitting)
    timed = [] if too_large else [(row.speed, row) for row in candidates if row.speed is not None and row.speed.counts]
    if timed:
        limit = min(timed, key=lambda item: item[0].median_ms)[0].median_high_ms
        candidates = [row for speed, row in timed if speed.median_low_ms <= limit]
    return min(candidates, key=lambda row: row.size_bytes or 0, default=None)


def _fits(row: Row, budget: Mapping[str, Any]) -> bool:
    """What is made on the way to the shipped file passes by its accuracy alone, and may be too large or too slow."""
    size, latency = budget.get("max_size"), budget.get("max_latency")
    if size is not None and (row.size_bytes or 0) > size:
        return False
    return latency is None or row.speed is None or not _timed(row) or row.speed.median_high_ms <= latency


def _timed(row: Row) -> bool:
    return row.speed is not None and row.speed.counts


def _seems_slower(row: Row) -> bool:
    """Proven slower than FP32; or slower as far as too few processes, or an invalid measurement, can tell."""
    speed = row.speed
    if speed is None or speed.emulated or speed.speedup is None:
        return False
    unproven = speed.conclusion.startswith(("too few", "invalid"))
    return speed.conclusion == "slower" or (unproven and speed.speedup < 1)


def _because(chosen: Row, made: Sequence[Row], *, elsewhere: str) -> str:
    """Why this file and not another, in brackets."""
    if chosen.outcome == "PASS":
        return f" (the fastest that passed{elsewhere})" if _timed(chosen) else " (the smallest that passed)"
    lost = [f"{row.name} {row.outcome or row.status}" for row in made if row.outcome in ("FAIL", "INCONCLUSIVE")]
    lost += [f"{row.name} {row.status}" for row in made if row.status != "ok"]
    passed = [row for row in made if row.outcome == "PASS"]
    lost += [f"{row.name} slower{elsewhere}" if _seems_slower(row) else f"{row.name} over the budget" for row in passed]
    return f" ({', '.join(lost)})" if lost else ""


def _doubts_of(baseline: Evidence, labels: Sequence[int] | None, num_classes: int) -> list[str]:
    """What is wrong with the FP32 file's own answers."""
    if baseline.answers is None or labels is None:
        return []
    answers = top1(baseline.answers)
    return [said for said in suspicions(answers, answers, labels, num_classes=num_classes) if "the baseline" in said]


def doubts(found: Mapping[Kind, Evidence], labels: Sequence[int] | None, num_classes: int) -> list[str]:
    """Signs that something other than compression is wrong, each said once."""
    said: list[str] = []
    for evidence in found.values():
        if evidence.answers is None or labels is None:
            continue
        base = found.get(Kind(evidence.artifact.format, "fp32"))
        if base is None or base.answers is None:
            continue
        expected, truth = at(evidence.positions, base.answers), at(evidence.positions, np.asarray(labels))
        said.extend(suspicions(top1(expected), top1(evidence.answers), truth.tolist(), num_classes=num_classes))
    return list(dict.fromkeys(said))
