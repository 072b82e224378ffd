"""Search: where the recipe as written misses the accuracy budget, other stages are tried and the best are certified.

Trials are judged on one half of the evaluation images. The one that is taken is certified on the other half, which had
no part in choosing it. The recipe as written is judged on all images: nothing had been chosen by then. What it is
compared by later is its loss on the search images. Where a search may follow, each of the two verdicts has half the
probability of an error, so that the one delivered is wrong with 5 % at most.
"""

from __future__ import annotations

import time
from collections.abc import Sized
from dataclasses import replace
from typing import Any

from edgecnn.compress.fallbacks import Attempt, Fallback
from edgecnn.core.artifact import Kind
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.events import Finished, Started, Warned
from edgecnn.core.store import CannotWrite
from edgecnn.data.folds import halves
from edgecnn.report import search as words
from edgecnn.report.search import Search, TrialRow
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.tasks.task import Answers, Judgement
from edgecnn.workflows.optimize.assessment import Assessment, answer, gather, lint
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.ladder import Ladder, Strategy, trials_of
from edgecnn.workflows.optimize.planning import RunContext
from edgecnn.workflows.optimize.request import Request
from edgecnn.workflows.optimize.trial import Evaluator, Trial
from edgecnn.workflows.optimize.verification import validate_source, verify

CONFIDENCE_OF_TWO = 1 - (1 - CONFIDENCE) / 2
AS_WRITTEN = "as written"
ON_SEARCH_IMAGES = f"{AS_WRITTEN}, on these images"
"""The row that trials are to be compared with: the first is judged on all images, they on a half."""


def search(
    execution: Execution,
    assessments: dict[Kind, Assessment],
    checkpoint: Answers,
    context: RunContext,
    request: Request,
) -> tuple[Execution, Search | None]:
    """The execution to deliver, and how it was found: `execution` itself where the recipe as written passes.
    `checkpoint` are its answers in PyTorch, which everything is judged against.

    `assessments` gets those of a new execution's files. Raises CannotWrite only: an attempt that fails becomes a row of
    the search.
    """
    final, baseline = execution.final, assessments.get(Kind(execution.format, "fp32"))
    if not request.recipe.ladder or final is None or baseline is None:
        return execution, None
    judged = assessments.get(final)
    if judged is None or any(item.error is not None or item.answers is None for item in (baseline, judged)):
        return execution, None
    assert judged.answers is not None
    evaluator = Evaluator.create(request, context, execution.format, checkpoint, baseline)
    overall, exceeds = evaluator.judge(judged.answers), evaluator.too_large(judged)
    passes = overall.outcome == "PASS" and not exceeds
    written = Trial(AS_WRITTEN, execution, judged, overall, exceeds, passes)
    refusal = (
        ""
        if overall.outcome == "PASS"
        else _too_few_images(request, context, evaluator.searching, evaluator.certifying)
    )
    if overall.outcome == "PASS" or refusal:
        why = refusal or (words.NOTHING_SMALLER if exceeds else "")
        return execution, _result(evaluator, [written.row()], AS_WRITTEN, None, why)
    first = replace(written, judgement=evaluator.judge(judged.answers.on(evaluator.searching)), passes=False)
    history = run_strategy(Ladder(request, context), evaluator, first)
    trials = trials_of(history)
    rows = [entry.row() if isinstance(entry, Trial) else entry for entry in history]
    rows = [written.row(), replace(rows[0], label=ON_SEARCH_IMAGES), *rows[1:]]
    chosen = trials[-1] if trials[-1].passes else min(trials, key=lambda trial: trial.judgement.largest_loss)
    if len(trials) == 1:
        alike = any(row.state == "no better" for row in rows)
        why = "no fallback made another file" if alike else "no fallback could be tried"
        return execution, _result(evaluator, rows, AS_WRITTEN, None, why)
    if chosen is first:
        return execution, _result(evaluator, rows, AS_WRITTEN, overall, _closest(evaluator, chosen))
    judgement, why = certify(chosen, assessments, evaluator)
    return chosen.execution, _result(evaluator, rows, chosen.label, judgement, why)


def run_strategy(strategy: Strategy, evaluator: Evaluator, first: Trial) -> list[Trial | TrialRow]:
    """Evaluate what `strategy` proposes until it stops; all that was tried, `first` first."""
    history: list[Trial | TrialRow] = [first]
    while (proposal := strategy(history)) is not None:
        history.append(proposal if isinstance(proposal, TrialRow) else _evaluate(*proposal, evaluator, history))
    return history


def _evaluate(
    fallback: Fallback, attempt: Attempt, evaluator: Evaluator, history: list[Trial | TrialRow]
) -> Trial | TrialRow:
    """The attempt's trial, or a row where it failed or made a file that was judged before."""
    listener, began = evaluator.context.listener, time.monotonic()
    step = f"search {evaluator.format}: {attempt.label}"
    listener(Started(step))
    try:
        trial = evaluator(attempt.stages, label=attempt.label, fallback=fallback.kind, timed=fallback.costs_latency)
    except CannotWrite:
        raise
    except EdgecnnError as error:
        listener(Warned(error.code, f"{step} failed: {error.message}", error.why))
        why = ": ".join(filter(None, (error.message, error.why)))
        return TrialRow(fallback.kind, attempt.label, "failed", why)
    twin = next((other for other in trials_of(history) if other.sha256 == trial.sha256), None)
    note = f"it makes the same file as: {twin.label}" if twin else _loss(evaluator, trial.judgement)
    listener(Finished(step, time.monotonic() - began, note=note))
    return TrialRow(fallback.kind, attempt.label, "no better", note) if twin else trial


def certify(chosen: Trial, assessments: dict[Kind, Assessment], evaluator: Evaluator) -> tuple[Judgement | None, str]:
    """Judge the chosen execution on the images that did not choose it, and say in words what came of it.

    Its files' assessments replace those of the recipe as written.
    """
    context, execution = evaluator.context, chosen.execution
    for kind, assessment in gather([execution], context).items():
        known = assessments.get(kind)
        if known is not None and known.artifact.sha256 == assessment.artifact.sha256:
            continue
        try:
            validate_source(assessment, assessments)
            lint(assessment, context)
            answer(assessment, evaluator.certifying, context, threads=evaluator.request.threads)
            verify(assessment, evaluator.certifying, context)
        except CannotWrite:
            raise
        except EdgecnnError as error:
            assessment.error = error
        assessments[kind] = assessment
    for kind in [kind for kind in assessments if kind.format == execution.format and kind not in execution.artifacts]:
        del assessments[kind]
    final = assessments[chosen.assessment.artifact.kind]
    if final.error is not None or final.answers is None:
        why = final.error.message if final.error else "there are no answers"
        return None, f"could not be certified: {why}"
    judgement, images = evaluator.judge(final.answers), len(evaluator.certifying)
    if judgement.outcome == "PASS" and not chosen.exceeds:
        return judgement, words.certified(chosen.label, images)
    return judgement, words.not_certified(chosen.label, images) if chosen.passes else _closest(evaluator, chosen)


def confidence_of(request: Request, context: RunContext) -> float:
    """The confidence of each verdict. Where the recipe has a ladder and the images suffice for it, two verdicts may be
    given, on the recipe as written and on what the search chose: either takes half of the error. Known before any
    image was answered."""
    images: Any = context.data.evaluation
    if images is None or not request.recipe.ladder:
        return CONFIDENCE
    return CONFIDENCE if _too_few_images(request, context, *halves(images)) else CONFIDENCE_OF_TWO


def _too_few_images(request: Request, context: RunContext, searching: Sized, certifying: Sized) -> str:
    """Why a search would be for nothing: too few images to prove the budget even of a file that changes no answer."""
    count, task, max_drop = len(certifying), context.task, request.budget.max_drop
    needed = task.fewest_images(max_drop, confidence=CONFIDENCE_OF_TWO)
    if needed is not None and count >= needed and len(searching):
        return ""
    return words.not_searched(count, needed, task.budget(max_drop))


def _closest(evaluator: Evaluator, chosen: Trial) -> str:
    over = chosen.judgement.loss - evaluator.request.budget.max_drop
    amount = evaluator.context.task.amount(over)
    return words.closest(
        chosen.label,
        chosen.exceeds or (f"{amount} over it" if over > 0 else "within it, but not by enough to be proven"),
    )


def _loss(evaluator: Evaluator, judgement: Judgement) -> str:
    if judgement.drop is None or judgement.drop.value is None:
        return f"agreement {judgement.agreement or 0:.2%}"
    return f"drop {evaluator.context.task.amount(judgement.drop.value)}"


def _result(evaluator: Evaluator, rows: list[TrialRow], chosen: str, judgement: Judgement | None, why: str) -> Search:
    return Search(
        format=evaluator.format,
        searching=len(evaluator.searching),
        certifying=len(evaluator.certifying),
        attempts=tuple(rows),
        chosen=chosen,
        outcome=judgement.outcome if judgement else None,
        why=why,
    )
