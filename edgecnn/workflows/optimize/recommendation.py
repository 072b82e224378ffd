"""Recommendation: the outcome of a run, which file to ship, and what follows from the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgecnn.core.outcome import Outcome
from edgecnn.formats.registry import runs_here
from edgecnn.report.facts import NO_BUDGET, BudgetFacts
from edgecnn.report.model import Row
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.tasks.task import Task

OUTCOMES_WORST_FIRST: tuple[Outcome, ...] = ("FAIL", "INCONCLUSIVE")


def overall(
    made: Sequence[Row], task: Task, *, confidence: float = CONFIDENCE, bundled: Row | None = None
) -> tuple[Outcome, str]:
    """The outcome of a run, and why.

    Where `bundled` passed, it is that of `bundled`, and the others are named. Else the worst of the candidates'
    outcomes: one file that lost its accuracy is enough to stop a release, and what could not be made is not passed in
    silence.
    """
    judged = [row for row in made if row.outcome is not None]
    sure = f"{100 * confidence:g} % confidence"
    others = [row for row in judged if row.outcome != "PASS"]
    if others and bundled is not None and bundled.outcome == "PASS":
        named = ", ".join(f"{row.name} {row.outcome}" for row in others)
        why = f"{bundled.name} is bundled: {_loss(bundled, task)}, with {sure}; not bundled: {named}"
        return "PASS", f"{why}{_stand_ins([bundled])}{_not_made(made)}"
    for outcome in OUTCOMES_WORST_FIRST:
        worst = [row for row in judged if row.outcome == outcome]
        if worst:
            return outcome, f"{worst[0].name}: {worst[0].outcome_why}{_not_made(made)}"
    failed = [row.name for row in made if row.status == "failed"]
    if failed and bundled is None:
        return "INCONCLUSIVE", f"{', '.join(failed)} could not be judged{_not_made(made)}"
    if not judged:
        return "INCONCLUSIVE", f"nothing but FP32 was made, so there is nothing to judge{_not_made(made)}"
    high = max(row.accuracy.drop_high for row in judged if row.accuracy and row.accuracy.drop_high is not None)
    lost = f"no candidate loses more than {task.amount(high)} of {task.metric.name}"
    gained = f"all gain {task.amount(-high)} of {task.metric.name} or more"
    return "PASS", f"{lost if high >= 0 else gained}, with {sure} each{_stand_ins(judged)}{_not_made(made)}"


def deciding(made: Sequence[Row], budget: BudgetFacts) -> Row | None:
    """The row whose outcome is that of a run for which no format was named: what is bundled, where it passed and fits;
    None where every candidate has its say."""
    chosen = recommended(made, budget)
    return chosen if chosen is not None and chosen.outcome == "PASS" and _fits(chosen, budget) else None


def _loss(row: Row, task: Task) -> str:
    high = row.accuracy.drop_high if row.accuracy else None
    if high is None:
        return row.outcome_why
    return f"it {'loses' if high >= 0 else 'gains'} {'at most' if high >= 0 else 'at least'} {task.amount(abs(high))}"


def _not_made(made: Sequence[Row]) -> str:
    lost = [row.name for row in made if row.status != "ok"]
    return f"; not made: {', '.join(lost)}" if lost else ""


def _stand_ins(judged: Sequence[Row]) -> str:
    names = [row.name for row in judged if row.accuracy and row.accuracy.stand_in]
    return f"; {', '.join(names)} judged in a stand-in" if names else ""


def conclusions(made: Sequence[Row], *, here: bool, budget: BudgetFacts = NO_BUDGET) -> list[str]:
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
        fits = _fits(chosen, budget)
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
        return f"latency not measured: {row.backend} is not on this host" if not runs_here(row.backend) else ""
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
    disturbed = "disturbed by other programs: " if speed.disturbed else ""
    return f"{disturbed}{claims.get(speed.conclusion, speed.conclusion + ':')} {figures}"


def recommended(made: Sequence[Row], budget: BudgetFacts = NO_BUDGET) -> Row | None:
    """What to ship: of the files that passed and fit the budget's `max_size` and `max_latency`, the fastest one that is
    not slower than FP32, or the smallest where nothing was timed or other programs disturbed it; else the fastest FP32
    file that fits. Where nothing fits, that which comes nearest of what kept its accuracy. What is not proven is never
    chosen, and of files whose times no interval tells apart the smallest is taken."""
    proven = [row for row in made if row.outcome == "PASS" and not _seems_slower(row)]
    baselines = [row for row in made if row.status == "ok" and row.outcome is None]
    fitting = [[row for row in rows if _fits(row, budget)] for rows in (proven, baselines)]
    candidates = fitting[0] or fitting[1] or [*proven, *baselines]
    too_large = budget.max_size is not None and not any(fitting)
    timed = [] if too_large else [(row.speed, row) for row in candidates if row.speed is not None and row.speed.counts]
    if any(speed.disturbed for speed, _ in timed):
        candidates = [row for _, row in timed]
    elif timed:
        limit = min(timed, key=lambda item: item[0].median_ms)[0].median_high_ms
        candidates = [row for speed, row in timed if speed.median_low_ms <= limit]
    return min(candidates, key=lambda row: row.size_bytes or 0, default=None)


def _fits(row: Row, budget: BudgetFacts) -> bool:
    """What is made on the way to the shipped file passes by its accuracy alone, and may be too large or too slow."""
    size, latency = budget.max_size, budget.max_latency
    if size is not None and (row.size_bytes or 0) > size:
        return False
    return latency is None or row.speed is None or not is_timed(row) or row.speed.median_high_ms <= latency


def is_timed(row: Row) -> bool:
    """Whether its latency says something about the target, and was not disturbed."""
    return row.speed is not None and row.speed.decides


def _seems_slower(row: Row) -> bool:
    """Proven slower than FP32; or slower as far as too few processes, or an invalid measurement, can tell."""
    speed = row.speed
    if speed is None or speed.emulated or speed.speedup is None or speed.disturbed:
        return False
    unproven = speed.conclusion.startswith(("too few", "invalid"))
    return speed.conclusion == "slower" or (unproven and speed.speedup < 1)


def _because(chosen: Row, made: Sequence[Row], *, elsewhere: str) -> str:
    """Why this file and not another, in brackets."""
    if chosen.outcome == "PASS":
        if any(row.speed.disturbed for row in made if row.speed is not None):
            return " (the smallest that passed: other programs disturbed the latencies, which decide nothing)"
        return f" (the fastest that passed{elsewhere})" if is_timed(chosen) else " (the smallest that passed)"
    lost = [f"{row.name} {row.outcome or row.status}" for row in made if row.outcome in ("FAIL", "INCONCLUSIVE")]
    lost += [f"{row.name} {row.status}" for row in made if row.status != "ok"]
    passed = [row for row in made if row.outcome == "PASS"]
    lost += [f"{row.name} slower{elsewhere}" if _seems_slower(row) else f"{row.name} over the budget" for row in passed]
    return f" ({', '.join(lost)})" if lost else ""
