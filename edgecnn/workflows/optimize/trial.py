"""Evaluation of a list of stages: execute them, judge the file on the search images, and check size and latency.

Nothing here searches. A search strategy, whatever it is, calls an `Evaluator` and looks at the trials it returns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgecnn.core.artifact import FormatName, Kind
from edgecnn.core.errors import StepError
from edgecnn.core.quantities import in_words
from edgecnn.core.stage import LabelledImages, Stage
from edgecnn.data.folds import halves
from edgecnn.measure.effort import profile_named
from edgecnn.report.model import Speed
from edgecnn.report.search import TrialRow
from edgecnn.tasks.task import Answers, Judgement
from edgecnn.workflows.optimize.assessment import Assessment, answer, gather, lint, time_all
from edgecnn.workflows.optimize.execution import Execution, execute
from edgecnn.workflows.optimize.planning import RunContext, checkpoint_artifact, plan_stages
from edgecnn.workflows.optimize.request import Request


@dataclass(frozen=True, slots=True)
class Trial:
    """One list of stages, executed and judged on the search images.

    `exceeds` says which limit on size or latency it breaks, empty where none. `passes`: it would be certified if it
    behaves on the certifying images as here.
    """

    label: str
    execution: Execution
    assessment: Assessment
    judgement: Judgement
    exceeds: str
    passes: bool
    seconds: float = 0.0
    fallback: str = ""

    @property
    def sha256(self) -> str:
        return self.assessment.artifact.sha256

    def row(self) -> TrialRow:
        drop = self.judgement.drop
        return TrialRow(
            fallback=self.fallback,
            label=self.label,
            state="within" if self.passes else "over",
            why=self.exceeds,
            drop=drop.value if drop else None,
            drop_low=drop.low if drop else None,
            drop_high=drop.high if drop else None,
            agreement=self.judgement.agreement,
            size_bytes=self.assessment.artifact.size_bytes,
            seconds=round(self.seconds, 1),
        )


@dataclass(frozen=True, slots=True)
class Evaluator:
    """`evaluator(stages, label=…)` is a trial. Pure: equal stages give an equal trial, and nothing else changes but
    the store.

    `checkpoint` are its answers in PyTorch to all evaluation images, which trials are judged against; `baseline` is the
    assessment of FP32 in this format, beside which they are timed. The images are divided once, class
    by class: those `searching` judge trials, those `certifying` have no part in choosing.
    """

    request: Request
    context: RunContext
    format: FormatName
    checkpoint: Answers
    baseline: Assessment
    searching: LabelledImages
    certifying: LabelledImages

    @classmethod
    def create(
        cls, request: Request, context: RunContext, format: FormatName, checkpoint: Answers, baseline: Assessment
    ) -> Evaluator:
        images: Any = context.data.evaluation
        searching, certifying = (images.select(positions) for positions in halves(images))
        return cls(request, context, format, checkpoint, baseline, searching, certifying)

    def __call__(self, stages: tuple[Stage, ...], *, label: str, fallback: str = "", timed: bool = False) -> Trial:
        """`timed` measures the latency, where a budget asks for it and the target can be measured.

        Raises what executing, linting and running the file raise: EdgecnnError.
        """
        began = time.monotonic()
        execution, assessment = self._execute(stages, label)
        lint(assessment, self.context)
        answer(assessment, self.searching, self.context, threads=self.request.threads)
        assert assessment.answers is not None
        judgement = self.judge(assessment.answers)
        exceeds = self.too_large(assessment) or (self._too_slow(assessment) if timed else "")
        would_pass = self.context.task.would_pass(
            judgement, images=len(self.certifying), max_drop=self.request.budget.max_drop
        )
        seconds = time.monotonic() - began
        return Trial(label, execution, assessment, judgement, exceeds, would_pass and not exceeds, seconds, fallback)

    def judge(self, answers: Answers) -> Judgement:
        """`answers` against the checkpoint's to the same images."""
        budget, context = self.request.budget, self.context
        checkpoint = self.checkpoint.on(answers.images)
        return context.task.compare(checkpoint, answers, max_drop=budget.max_drop, confidence=context.confidence)

    def too_large(self, assessment: Assessment) -> str:
        """The size and its limit, where it is over it."""
        limit, size = self.request.budget.max_size, assessment.artifact.size_bytes
        if limit is None or size <= limit:
            return ""
        return f"{in_words(size, 'B')}, and the budget is {in_words(limit, 'B')}"

    def _too_slow(self, assessment: Assessment) -> str:
        limit = self.request.budget.max_latency
        if limit is None or not self.request.here:
            return ""
        speed = self._speeds(assessment).get(assessment.artifact.kind)
        if speed is None or not speed.decides or speed.median_high_ms <= limit:
            return ""
        return f"{speed.median_ms:.3g} ms, and the budget is {limit:g} ms"

    def _speeds(self, assessment: Assessment) -> Mapping[Kind, Speed]:
        """The file timed beside the baseline, by kind; empty for what cannot be timed here."""
        files = {item.artifact.kind: replace(item, speed=None) for item in (self.baseline, assessment)}
        profile = profile_named(self.request.profile)
        time_all(files, self.context, profile=profile, threads=self.request.threads, again=False)
        return {kind: item.speed for kind, item in files.items() if item.speed is not None}

    def _execute(self, stages: tuple[Stage, ...], label: str) -> tuple[Execution, Assessment]:
        recipe = self.request.recipe.model_copy(update={"stages": stages})
        planned = plan_stages(recipe, self.format, self.context)
        final = planned[-1].makes
        source = checkpoint_artifact(self.request.source.checkpoint, self.context)
        execution = execute(self.format, planned, source=source, context=self.context)
        if final not in execution.artifacts:  # what else failed, failed as well in the recipe as written
            for error in execution.failed.values():
                raise error
            raise StepError("nothing-made", f"{label} made no {final}", why=execution.skipped.get(final, ""))
        assessment = gather([execution], self.context)[final]
        if assessment.error is not None:
            raise assessment.error
        return execution, assessment
