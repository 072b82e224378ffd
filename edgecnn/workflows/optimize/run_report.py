"""Report and provenance of a run: what was found, on what, and what went into it."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecnn import __version__
from edgecnn.core.artifact import sha256_of
from edgecnn.formats.registry import format_packages
from edgecnn.measure.connection import Connection
from edgecnn.probe import facts
from edgecnn.report.facts import (
    BudgetFacts,
    CheckpointFacts,
    DataFacts,
    ModelFacts,
    PlaceFacts,
    Provenance,
    RecipeFacts,
    RequestFacts,
    StageFacts,
    facts_of,
)
from edgecnn.report.model import Report
from edgecnn.report.search import Search
from edgecnn.tasks.task import Answers
from edgecnn.workflows.inputs import Inputs
from edgecnn.workflows.optimize import recommendation, results
from edgecnn.workflows.optimize.assessment import Assessment
from edgecnn.workflows.optimize.earlier_run import run_name
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.planning import RunContext, versions
from edgecnn.workflows.optimize.request import Request

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")
"""Whose versions a run records, beside those of the formats."""


def build_report(
    request: Request,
    inputs: Inputs,
    context: RunContext,
    executions: Sequence[Execution],
    *,
    assessments: Mapping[Any, Assessment],
    baseline: Answers | None,
    records: Sequence[dict[str, Any]],
    warnings: Sequence[str],
    searches: Sequence[Search],
) -> Report:
    """The report of a finished run; `assessments` are the assessments by kind, `baseline` the checkpoint's answers
    to the evaluation images, where there are any, and `records` the steps that gave them."""
    connection, task = context.connection, context.task
    max_drop, confidence = request.budget.max_drop, context.confidence
    rows = results.rows(executions, assessments, baseline, task=task, max_drop=max_drop, confidence=confidence)
    finals = [execution.final for execution in executions]
    rows = results.limited(rows, finals, budget=request.budget, here=request.here)
    budget = _budget_facts(request)
    bundled = recommendation.deciding(rows, budget) if request.formats is None else None
    outcome, why = recommendation.overall(rows, task, confidence=confidence, bundled=bundled)
    doubts = results.doubts(assessments, baseline, task)
    steps = [record for execution in executions for record in execution.records]
    steps += _first_of_each([*records, *(record for item in assessments.values() for record in item.records)])
    return Report(
        title=f"{_name(request.source.checkpoint)} for {request.target.title}",
        outcome=outcome,
        outcome_why=why,
        target=request.target.model_dump(mode="json"),
        host=facts.describe(),
        device=dict(connection.facts),
        measured_on=_measured_on(request, connection),
        elsewhere=_elsewhere(request, connection),
        model=_model_facts(inputs),
        data=facts_of(DataFacts, _data_facts(request, inputs) | {"preprocessing": inputs.data.preprocessing.to_dict()}),
        recipe=facts_of(RecipeFacts, request.recipe.to_dict()),
        max_drop=request.budget.max_drop,
        profile=request.profile,
        rows=tuple(rows),
        conclusions=(
            *recommendation.changes(steps),
            *recommendation.conclusions(rows, here=request.here, budget=budget),
        ),
        warnings=tuple(dict.fromkeys([*warnings, *doubts])),
        stages=tuple(facts_of(StageFacts, step) for step in steps),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        budget=budget,
        searches=tuple(searches),
        metric=task.metric,
        confidence=confidence,
        verdict_of=bundled.name if bundled is not None else "",
    )


def _name(checkpoint: Path) -> str:
    """As a title has it: with its training run where all runs call it the same."""
    name = run_name(checkpoint)
    return checkpoint.name if name == checkpoint.stem else f"{name}/{checkpoint.name}"


def _first_of_each(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What several files share is done for the first of them and found finished by the others."""
    first: dict[str, dict[str, Any]] = {}
    for record in records:
        first.setdefault(record["key"], record)
    return list(first.values())


def _measured_on(request: Request, connection: Connection) -> str:
    board = connection.facts.get("board") or connection.facts.get("cpu") or connection.facts.get("machine")
    name = f"{request.target.name}: " if request.on_device and not connection.local else ""
    emulated = ", emulated" if connection.emulated else ""
    return f"{name}{board}{emulated} ({request.threads} thread{'s' if request.threads > 1 else ''})"


def _elsewhere(request: Request, connection: Connection) -> str:
    """Why the figures are not those of the target; empty where they are."""
    if connection.emulated:
        return "judged on an emulated board: its arithmetic is the board's, its times are not, so none is claimed"
    if request.target.local or not connection.local:
        return ""
    way = f"; --device {request.target.name} runs them there" if request.target.connect else ""
    return f"measured and judged on this host, not on the {request.target.title}{way}"


def _data_facts(request: Request, inputs: Inputs) -> dict[str, Any]:
    """Facts about the images; where the recipe trains, with the digest of those it learned from."""
    facts, training = dict(inputs.data.facts), inputs.data.training
    if training is not None and any(stage.trains for stage in request.recipe.stages):
        facts["digests"] = {**facts["digests"], "training": training.digest}
    return facts


def _model_facts(inputs: Inputs) -> ModelFacts:
    model = inputs.model
    return ModelFacts(
        name=model.name,
        sha256=model.sha256,
        form=model.form,
        parameters=model.parameters,
        input_shape=tuple(model.input_shape),
        num_classes=model.num_classes,
        preprocessing_source=inputs.preprocessing_source,
        notes=tuple(model.notes),
        source_files=dict(model.source_files),
    )


def provenance(request: Request, inputs: Inputs, context: RunContext) -> Provenance:
    """What went into a run and where it ran."""
    source, connection = request.source, context.connection
    return Provenance(
        checkpoint=CheckpointFacts(str(source.checkpoint), sha256_of(source.checkpoint)),
        request=RequestFacts(
            target=request.target.name,
            formats=tuple(request.wanted),
            budget=_budget_facts(request),
            profile=request.profile,
            threads=request.threads,
            seed=source.seed,
            model=source.architecture,
            data=str(source.data) if source.data else None,
            class_map=str(source.class_map) if source.class_map else None,
        ),
        model=_model_facts(inputs),
        data=_data_facts(request, inputs),
        preprocessing=inputs.data.preprocessing.to_dict(),
        recipe=facts_of(RecipeFacts, request.recipe.to_dict()),
        versions={
            "edgecnn": __version__,
            "python": platform.python_version(),
            **versions((*PACKAGES, *format_packages())),
        },
        host=facts.describe(),
        device=request.target.model_dump(mode="json"),
        ran_on=PlaceFacts(connection.local, dict(connection.facts), dict(connection.runtimes)),
    )


def _budget_facts(request: Request) -> BudgetFacts:
    budget = request.budget
    return BudgetFacts(budget.max_drop, budget.max_latency, budget.max_size)
