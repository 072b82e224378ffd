"""Climb the ladder: where the recipe as written misses the accuracy budget, try one rung after the other.

The evaluation images are divided once, class by class: every attempt is judged on those kept for searching, and the one
that is taken is certified on the rest, which had no part in choosing it. The recipe as written comes first and is
judged on all images: nothing had been chosen by then. What it is compared by later is its loss on the searching images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edgecnn.compress.fallbacks import Attempt, Fallback, Known
from edgecnn.config.recipe import Budget, Recipe
from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.core.events import Finished, Started, Warned
from edgecnn.core.quantities import in_words
from edgecnn.core.stage import Images
from edgecnn.core.store import CannotWrite
from edgecnn.data.folds import halves
from edgecnn.measure.effort import Profile
from edgecnn.report.search import Search, State, Trial
from edgecnn.tasks.task import Answers, Judgement, Task
from edgecnn.workflows.optimize.assessment import Assessment, answer, gather, lint, rank, reference, time_all, verify
from edgecnn.workflows.optimize.execution import Execution, execute, translated
from edgecnn.workflows.optimize.planning import RunContext, steps

AS_WRITTEN = "as written"
SEARCHED = f"{AS_WRITTEN}, on these images"
"""The row that the attempts are to be compared with: the first is judged on all images, they on a half."""
NOTHING_SMALLER = "its accuracy is within the budget, and no rung makes a file smaller: prune more, or distill-small"
TOO_LITTLE = 0.1
"""Two attempts of a rung in a row that win back less than this share of what is missing end the rung."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What to climb for. `profile` is what attempts that cost latency are timed with, where a budget asks for it and
    what is measured is the target (`here`)."""

    recipe: Recipe
    budget: Budget
    here: bool
    threads: int
    profile: Profile

    @property
    def max_drop(self) -> float:
        return self.budget.max_drop


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An attempt that was made: its lane, the evidence on what the lane ends in, and how it was judged."""

    tried: Trial
    execution: Execution
    assessment: Assessment
    judgement: Judgement


@dataclass(slots=True)
class _Climber:
    """The state of one lane's climb."""

    execution: Execution
    found: dict[Kind, Assessment]
    context: RunContext
    ladder: Ladder
    source: Artifact
    searching: list[int]
    certifying: list[int]
    tried: list[Trial] = field(default_factory=list)
    candidates: list[_Candidate] = field(default_factory=list)

    @property
    def images(self) -> Any:
        return self.context.data.evaluation

    def gap(self) -> float:
        """How much more than the budget the best attempt so far may lose (95 %), as a share of the images."""
        return max(0.0, min(item.judgement.largest_loss for item in self.candidates) - self.ladder.max_drop)

    def known(self) -> Known:
        seen = [item.judgement.agreement for item in self.candidates]
        return Known(max((share for share in seen if share is not None), default=None), self._worst_layers)

    def _worst_layers(self, count: int) -> list[str]:
        """The layers that lose most when they alone are INT8, in the network that the recipe makes."""
        final = last_made(self.execution)
        assert final is not None
        return rank(self.execution.models[final], self.execution.format, self.context)[:count]


def search(
    execution: Execution, found: dict[Kind, Assessment], context: RunContext, *, ladder: Ladder, source: Artifact
) -> tuple[Execution, Search | None]:
    """The lane to deliver, and how it was found: the lane itself where the recipe as written passes.

    `found` gets the evidence on what a new lane holds. Raises CannotWrite only: an attempt that fails is told in the
    climb.
    """
    final = last_made(execution)
    if not ladder.recipe.ladder or final is None or not _can_be_judged(execution, final, found):
        return execution, None
    images: Any = context.data.evaluation
    climber = _Climber(execution, found, context, ladder, source, *halves(images))
    answers = found[final].answers
    assert answers is not None
    first = _judged(climber, answers)
    too_large = _too_large(found[final], climber)
    within: State = "within" if first.outcome == "PASS" and not too_large else "over"
    row = replace(_row("", AS_WRITTEN, within, first, found[final]), why=too_large)
    climber.tried.append(row)
    refusal = "" if first.outcome == "PASS" else _cannot_certify(climber)
    if first.outcome == "PASS" or refusal:
        return execution, _told(climber, AS_WRITTEN, None, refusal or (NOTHING_SMALLER if too_large else ""))
    searched = _judged(climber, answers.on(images.select(climber.searching)))
    climber.tried.append(replace(_row("", SEARCHED, "over", searched, found[final]), why=too_large))
    climber.candidates.append(_Candidate(row, execution, found[final], searched))
    chosen = _search(climber)
    if len(climber.candidates) == 1:
        alike = any(row.state == "no better" for row in climber.tried)
        why = "no rung made another file" if alike else "no rung could be tried"
        return execution, _told(climber, AS_WRITTEN, None, why)
    if chosen.execution is execution:
        return execution, _told(climber, AS_WRITTEN, first, _closest_in_words(climber, chosen))
    return _certify(climber, chosen)


def last_made(execution: Execution) -> Kind | None:
    """What the recipe leads to in this format: the file that is meant to be shipped."""
    made = [kind for kind in execution.artifacts if not kind.is_baseline]
    return made[-1] if made else None


def _can_be_judged(execution: Execution, final: Kind, found: dict[Kind, Assessment]) -> bool:
    both = (found.get(Kind(execution.format, "fp32")), found.get(final))
    return all(item is not None and item.error is None and item.answers is not None for item in both)


def _cannot_certify(climber: _Climber) -> str:
    """Why climbing would be for nothing: too few images to prove the budget even of a file that changes no answer."""
    count, max_drop = len(climber.certifying), climber.ladder.max_drop
    task = climber.context.task
    needed = task.fewest_images(max_drop, labels=climber.images.labels is not None)
    if needed is not None and count >= needed and climber.searching:
        return ""
    more = f": about {2 * needed:,} evaluation images could" if needed else ", and no number would: allow a little"
    return f"not climbed: {count:,} images to certify on prove no drop of at most {task.budget(max_drop)}{more}"


def _search(climber: _Climber) -> _Candidate:
    """Attempt by attempt, until one would be certified; else the one that came closest, be it the recipe as written."""
    for fallback in climber.ladder.recipe.ladder:
        impossible = _impossible(fallback, climber)
        if why := impossible or fallback.hopeless(climber.known()):
            state: State = "not possible" if impossible else "hopeless"
            climber.tried.append(Trial(fallback.kind, fallback.kind, state, why))
            continue
        gains: list[float] = []
        before_rung = len(climber.tried)
        for attempt in _attempts(fallback, climber):
            if len(gains) >= 2 and max(gains[-2:]) < TOO_LITTLE:
                why = "the two before it won back almost nothing"
                climber.tried.append(Trial(fallback.kind, attempt.label, "no better", why))
                break
            before = climber.gap()
            candidate = _try(fallback, attempt, climber)
            if candidate is None:
                continue
            if candidate.tried.state == "within":
                return candidate
            gains.append((before - climber.gap()) / before if before > 0 else 0.0)
        if len(climber.tried) == before_rung:
            climber.tried.append(
                Trial(fallback.kind, fallback.kind, "not possible", "there is nothing left that it could change")
            )
    return min(climber.candidates, key=lambda item: item.judgement.largest_loss)


def _impossible(fallback: Fallback, climber: _Climber) -> str:
    if fallback.changes and fallback.changes not in {record["stage"] for record in climber.execution.records}:
        return f"no `{fallback.changes}` on the way to {climber.execution.format}"
    training = climber.context.data.training
    if not fallback.trains or training is not None:
        return ""
    return "there are no images to train on: DIR/train/CLASS/*.jpg"


def _attempts(fallback: Fallback, climber: _Climber) -> Iterator[Attempt]:
    """The rung's attempts; what goes wrong in finding them ends the rung, not the climb."""
    try:
        with translated(f"the rung {fallback.kind}"):
            yield from fallback.attempts(climber.ladder.recipe.stages, climber.known())
    except CannotWrite:
        raise
    except EdgecnnError as error:
        climber.tried.append(Trial(fallback.kind, fallback.kind, "failed", error.message))


def _try(fallback: Fallback, attempt: Attempt, climber: _Climber) -> _Candidate | None:
    """Walk the attempt's stages and judge what comes out on the searching images; what has been judged is not again."""
    context, began = climber.context, time.monotonic()
    step = f"climb {climber.execution.format}: {attempt.label}"
    context.listener(Started(step))
    try:
        execution, assessment = _made(attempt, climber)
        sha256 = assessment.artifact.sha256
        if twin := next((item for item in climber.candidates if item.assessment.artifact.sha256 == sha256), None):
            why = f"it makes the same file as: {twin.tried.label}"
            climber.tried.append(Trial(fallback.kind, attempt.label, "no better", why))
            context.listener(Finished(step, time.monotonic() - began, note=why))
            return twin
        answer(assessment, climber.images.select(climber.searching), context, threads=climber.ladder.threads)
        assert assessment.answers is not None
        judgement = _judged(climber, assessment.answers)
        too_much = _too_large(assessment, climber) or _too_slow(fallback, assessment, climber)
    except CannotWrite:
        raise
    except EdgecnnError as error:
        context.listener(Warned(error.code, f"{step} failed: {error.message}", error.why))
        why = ": ".join(filter(None, (error.message, error.why)))
        climber.tried.append(Trial(fallback.kind, attempt.label, "failed", why))
        return None
    seconds = time.monotonic() - began
    context.listener(Finished(step, seconds, note=_loss_in_words(judgement, context.task)))
    passes = not too_much and context.task.would_pass(
        judgement, images=len(climber.certifying), max_drop=climber.ladder.max_drop
    )
    row = _row(fallback.kind, attempt.label, "within" if passes else "over", judgement, assessment)
    row = replace(row, why=too_much, seconds=round(seconds, 1))
    climber.tried.append(row)
    climber.candidates.append(_Candidate(row, execution, assessment, judgement))
    return climber.candidates[-1]


def _made(attempt: Attempt, climber: _Climber) -> tuple[Execution, Assessment]:
    context, format = climber.context, climber.execution.format
    recipe = climber.ladder.recipe.model_copy(update={"stages": attempt.stages})
    planned = steps(recipe, format, context)
    final = planned[-1].makes
    execution = execute(format, planned, source=climber.source, context=context)
    if final not in execution.artifacts:  # what else failed, failed as well in the recipe as written
        for error in execution.failed.values():
            raise error
        raise StepError("nothing-made", f"{attempt.label} made no {final}", why=execution.skipped.get(final, ""))
    assessment = gather([execution], context)[final]
    if assessment.error is not None:
        raise assessment.error
    lint(assessment, context)
    return execution, assessment


def _too_large(assessment: Assessment, climber: _Climber) -> str:
    limit, size = climber.ladder.budget.max_size, assessment.artifact.size_bytes
    if limit is None or size <= limit:
        return ""
    return f"{in_words(size, 'B')}, and the budget is {in_words(limit, 'B')}"


def _too_slow(fallback: Fallback, assessment: Assessment, climber: _Climber) -> str:
    """Where a rung costs latency and the budget knows one: what it costs, if that is too much."""
    limit = climber.ladder.budget.max_latency
    if not fallback.costs_latency or limit is None or not climber.ladder.here:
        return ""
    baseline = climber.found[Kind(climber.execution.format, "fp32")]
    both = {baseline.artifact.kind: baseline, assessment.artifact.kind: assessment}
    before = baseline.speed
    time_all(both, climber.context, profile=climber.ladder.profile, threads=climber.ladder.threads, again=False)
    baseline.speed = before
    if assessment.speed is None or not assessment.speed.counts or assessment.speed.median_high_ms <= limit:
        return ""
    return f"{assessment.speed.median_ms:.3g} ms, and the budget is {limit:g} ms"


def _judged(climber: _Climber, answers: Answers) -> Judgement:
    """`answers` against the baseline's to the same images."""
    baseline = climber.found[Kind(climber.execution.format, "fp32")]
    assert baseline.answers is not None
    return climber.context.task.compare(baseline.answers, answers, max_drop=climber.ladder.max_drop)


def _certify(climber: _Climber, chosen: _Candidate) -> tuple[Execution, Search]:
    """Judge the chosen lane on the images that did not choose it; its evidence takes the place of the old."""
    context, execution = climber.context, chosen.execution
    images: Images = climber.images.select(climber.certifying)
    fresh = gather([execution], context)
    for kind, assessment in fresh.items():
        known = climber.found.get(kind)
        if known is not None and known.artifact.sha256 == assessment.artifact.sha256:
            continue
        try:
            lint(assessment, context)
            answer(assessment, images, context, threads=climber.ladder.threads)
            expected, record = reference(assessment.model, images, context)
            assessment.records.append(record)
            verify(assessment, expected, context.task)
        except CannotWrite:
            raise
        except EdgecnnError as error:
            assessment.error = error
        climber.found[kind] = assessment
    for kind in [kind for kind in climber.found if kind.format == execution.format and kind not in execution.artifacts]:
        del climber.found[kind]
    final = climber.found[chosen.assessment.artifact.kind]
    if final.error is not None or final.answers is None:
        why = final.error.message if final.error else "there are no answers"
        return execution, _told(climber, chosen.tried.label, None, f"could not be certified: {why}")
    judgement = _judged(climber, final.answers)
    return execution, _told(climber, chosen.tried.label, judgement, _outcome_in_words(climber, chosen, judgement))


def _outcome_in_words(climber: _Climber, chosen: _Candidate, judgement: Judgement) -> str:
    images = f"{len(climber.certifying):,} images that did not choose it"
    if judgement.outcome == "PASS" and not chosen.tried.why:
        return f"{chosen.tried.label}: certified on {images}"
    if chosen.tried.state == "within":
        return f"{chosen.tried.label} was within the budget where it was chosen, and is not certified on {images}"
    return _closest_in_words(climber, chosen)


def _closest_in_words(climber: _Climber, chosen: _Candidate) -> str:
    missing = chosen.tried.why or _beyond(chosen.judgement.loss - climber.ladder.max_drop, climber.context.task)
    return f"no rung is within the budget; {chosen.tried.label} came closest, {missing}"


def _loss_in_words(judgement: Judgement, task: Task) -> str:
    if judgement.drop is None or judgement.drop.value is None:
        return f"agreement {judgement.agreement or 0:.2%}"
    return f"drop {task.amount(judgement.drop.value)}"


def _beyond(loss: float, task: Task) -> str:
    """How far a loss is over the budget."""
    return f"{task.amount(loss)} over it" if loss > 0 else "within it, but not by enough to be proven"


def _row(fallback: str, label: str, state: State, judgement: Judgement, assessment: Assessment) -> Trial:
    return Trial(
        fallback=fallback,
        label=label,
        state=state,
        drop=judgement.drop.value if judgement.drop else None,
        drop_low=judgement.drop.low if judgement.drop else None,
        drop_high=judgement.drop.high if judgement.drop else None,
        agreement=judgement.agreement,
        size_bytes=assessment.artifact.size_bytes,
    )


def _told(climber: _Climber, chosen: str, judgement: Judgement | None, why: str) -> Search:
    return Search(
        format=climber.execution.format,
        searching=len(climber.searching),
        certifying=len(climber.certifying),
        attempts=tuple(climber.tried),
        chosen=chosen,
        outcome=judgement.outcome if judgement else None,
        why=why,
    )
