"""Ladder: the search strategy that tries a recipe's fallbacks in their order until one keeps the budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from edgecnn.compress.fallbacks import Attempt, Fallback, Known
from edgecnn.core import plugins
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.store import CannotWrite
from edgecnn.formats.registry import format_named
from edgecnn.quantize.tensor_sqnr import destroying_groups
from edgecnn.report.search import TrialRow
from edgecnn.workflows.optimize.assessment import rank
from edgecnn.workflows.optimize.execution import translated
from edgecnn.workflows.optimize.planning import RunContext
from edgecnn.workflows.optimize.request import Request
from edgecnn.workflows.optimize.trial import Trial

SMALL_GAIN = 0.1
"""Two attempts of a fallback in a row that win back less than this share of what is missing end the fallback."""

Step = tuple[Fallback, Attempt]
SearchHistory = Sequence[Trial | TrialRow]
"""What was tried so far, in order: trials, and rows of attempts that were not run or failed. The first is the recipe
as written."""


class Strategy(Protocol):
    """Chooses what is tried next."""

    def __call__(self, history: SearchHistory) -> Step | TrialRow | None:
        """An attempt to evaluate, a row that says why one is not run, or None: stop."""
        ...


def trials_of(history: SearchHistory) -> list[Trial]:
    return [entry for entry in history if isinstance(entry, Trial)]


class Ladder:
    """Fallback after fallback, attempt after attempt; stops at the first trial that passes."""

    def __init__(self, request: Request, context: RunContext) -> None:
        self._request, self._context = request, context
        self._history: SearchHistory = ()
        self._basis = Attempt("", request.recipe.stages)
        self._steps = self._search()

    def __call__(self, history: SearchHistory) -> Step | TrialRow | None:
        self._history = history
        return next(self._steps, None)

    def _search(self) -> Iterator[Step | TrialRow]:
        for fallback in self._request.recipe.ladder:
            if not fallback.applies(self._known()):
                continue
            impossible = self._impossible(fallback)
            if reason := impossible or fallback.skip_reason(self._known()):
                state = "not possible" if impossible else "hopeless"
                yield TrialRow(fallback.kind, fallback.kind, state, reason)  # type: ignore[arg-type]
                continue
            before = len(self._history)
            yield from self._attempts(fallback)
            if len(self._history) == before:
                reason = "there is nothing left that it could change"
                yield TrialRow(fallback.kind, fallback.kind, "not possible", reason)
            if self._history and isinstance(last := self._history[-1], Trial) and last.passes:
                return

    def _attempts(self, fallback: Fallback) -> Iterator[Step | TrialRow]:
        """The attempts of one fallback; what goes wrong in finding them ends the fallback, not the search."""
        gains: list[float] = []
        attempts = fallback.attempts(self._basis.stages, self._known())
        while True:
            try:
                with translated(f"the fallback {fallback.kind}"):
                    attempt = next(attempts, None)
            except CannotWrite:
                raise
            except EdgecnnError as error:
                yield TrialRow(fallback.kind, fallback.kind, "failed", error.message)
                return
            if attempt is None:
                return
            if len(gains) >= 2 and max(gains[-2:]) < SMALL_GAIN:
                yield TrialRow(fallback.kind, attempt.label, "no better", "the two before it won back almost nothing")
                return
            if self._basis.label:
                attempt = replace(attempt, label=f"{self._basis.label}, {attempt.label}")
            missing = self._missing()
            yield fallback, attempt
            last = self._history[-1]
            if isinstance(last, Trial) and last.passes:
                return
            if fallback.is_basis and isinstance(last, Trial) and last.judgement.largest_loss < self._written_loss:
                self._basis = attempt
            if isinstance(last, Trial) or last.state != "failed":
                gains.append((missing - self._missing()) / missing if missing > 0 else 0.0)

    def _missing(self) -> float:
        """How much more than the budget the best trial may lose, in the unit of the task's metric."""
        best = min(trial.judgement.largest_loss for trial in trials_of(self._history))
        return max(0.0, best - self._request.budget.max_drop)

    def _impossible(self, fallback: Fallback) -> str:
        execution = self._written.execution
        if fallback.changes and fallback.changes not in {record["stage"] for record in execution.records}:
            return f"no `{fallback.changes}` on the way to {execution.format}"
        if not fallback.trains or self._context.data.training is not None:
            return ""
        return "there are no images to train on: DIR/train/CLASS/*.jpg"

    @property
    def _written(self) -> Trial:
        """The recipe as written."""
        return trials_of(self._history)[0]

    @property
    def _written_loss(self) -> float:
        return self._written.judgement.largest_loss

    def _known(self) -> Known:
        agreements = [trial.judgement.agreement for trial in trials_of(self._history)]
        saturates = format_named(self._written.execution.format).saturates
        return Known(
            agreement=max((share for share in agreements if share is not None), default=None),
            worst_layers=self._worst_layers,
            saturates=bool(saturates) and plugins.resolve(saturates)(),
            destroying=self._destroying,
        )

    def _destroying(self) -> list[tuple[str, ...]]:
        """Groups of layers whose tensors are destroyed in the file that the recipe as written makes."""
        execution = self._written.execution
        assert execution.final is not None
        return destroying_groups(execution.artifacts[execution.final].path)

    def _worst_layers(self, count: int) -> list[str]:
        """The layers that lose most when they alone are INT8, in the network that the recipe makes."""
        execution = self._written.execution
        final = execution.final
        assert final is not None
        return rank(execution.models[final], execution.format, self._context)[:count]
