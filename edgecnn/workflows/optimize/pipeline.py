"""Pipeline of `optimize`: open → (compress) → export → quantize → lint → verify → search → measure → report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edgecnn.core.artifact import Kind
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import Finished, Listener, Started, Warned, scoped
from edgecnn.core.store import CannotWrite, Store, make_folder, sweep
from edgecnn.measure.connection import Connection, connect, this_host
from edgecnn.measure.effort import profile_named
from edgecnn.measure.layer_times import layer_times_on
from edgecnn.report.model import Report
from edgecnn.report.search import Search
from edgecnn.tasks.task import Answers
from edgecnn.workflows.inputs import Inputs, open_inputs
from edgecnn.workflows.optimize import file_names
from edgecnn.workflows.optimize.assessment import Assessment, answer, gather, lint, time_all
from edgecnn.workflows.optimize.earlier_run import require_same_network
from edgecnn.workflows.optimize.execution import Execution, execute, finished
from edgecnn.workflows.optimize.output import write_run
from edgecnn.workflows.optimize.planning import (
    RunContext,
    checkpoint_artifact,
    plan_stages,
    validate_extras,
)
from edgecnn.workflows.optimize.request import Request, validate, validate_inputs
from edgecnn.workflows.optimize.run_report import build_report, provenance
from edgecnn.workflows.optimize.search import confidence_of, search
from edgecnn.workflows.optimize.verification import checkpoint_answers, validate_source, verify


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One planned stage: what it would make, whether it is cached, which extra is missing."""

    name: str
    format: str
    options: Mapping[str, Any]
    cached: bool
    missing: str | None


def plan(request: Request, *, listener: Listener) -> tuple[Inputs, list[PlanEntry]]:
    """What `run` would do. Reads the inputs, runs nothing."""
    inputs, context = _open(request, listener, this_host())
    entries = []
    for format in request.wanted:
        for planned in plan_stages(request.recipe, format, context):
            cached = finished(planned, context.store) is not None
            entries.append(PlanEntry(planned.name, format, planned.stage.options(), cached, planned.missing))
    return inputs, entries


def run(request: Request, *, listener: Listener) -> Report:
    """The main job. Raises EdgecnnError when the inputs are wrong or no artifact at all could be made; an artifact
    that fails alone becomes a row of the report."""
    warnings: list[str] = []
    listener = scoped(listener, on_warning=partial(_note, warnings))
    with _connection(request, listener) as connection:
        inputs, context = _open(request, listener, connection)
        if not request.again:
            require_same_network(request.out, request.source.checkpoint, inputs.model.sha256)
        if request.source.network is not None:
            request = _with_checkpoint(request, inputs)
        context = replace(context, confidence=confidence_of(request, context))
        executions = build(request, context)
        assessments = gather(executions, context)
        baseline, records = checkpoint_answers(context)
        _assess(assessments, context, request)
        executions, searches = _search(executions, assessments, baseline, context, request)
        profile = profile_named(request.profile)
        samples = time_all(assessments, context, profile=profile, threads=request.threads, again=request.remeasure)
        report = build_report(
            request,
            inputs,
            context,
            executions,
            assessments=assessments,
            baseline=baseline,
            records=records,
            warnings=warnings,
            searches=searches,
        )
        write_run(
            request.out,
            report,
            assessments=assessments,
            networks=file_names.network_files(executions),
            data=inputs.data,
            decoder=context.task.decoder,
            provenance=provenance(request, inputs, context),
            samples=samples,
        )
    return report


def build(request: Request, context: RunContext) -> list[Execution]:
    """Execute the recipe in every format; the output folder is touched when it is clear that there is something to do.

    Raises the first error when nothing came of any of them.
    """
    checkpoint = checkpoint_artifact(request.source.checkpoint, context)
    planned = {format: plan_stages(request.recipe, format, context) for format in request.wanted}
    if request.formats:
        validate_extras(planned)
    context.store.prepare()
    for folder in (request.out, request.out / "artifacts"):
        sweep(folder)
    executions = [execute(format, stages, source=checkpoint, context=context) for format, stages in planned.items()]
    if not any(execution.artifacts for execution in executions):
        for execution in executions:
            for error in execution.failed.values():
                raise error
        validate_extras(planned)
    return executions


def _search(
    executions: Sequence[Execution],
    assessments: dict[Kind, Assessment],
    baseline: Answers | None,
    context: RunContext,
    request: Request,
) -> tuple[list[Execution], list[Search]]:
    """Each execution as the search leaves it, and what was tried; without images to judge on there is no search."""
    if baseline is None or not request.recipe.ladder:
        return list(executions), []
    searched = [search(execution, assessments, baseline, context, request) for execution in executions]
    return [execution for execution, _ in searched], [tried for _, tried in searched if tried is not None]


@contextmanager
def _connection(request: Request, listener: Listener) -> Iterator[Connection]:
    """Where the files will be run. A board is asked before any work."""
    if not request.on_device:
        yield this_host()
        return
    backends = [item.backend for format in request.wanted if (item := request.target.deployment(format))]
    began = time.monotonic()
    listener(Started(step := f"ask {request.target.name}"))
    with connect(request.target, backends) as connection:
        listener(Finished(step, time.monotonic() - began))
        for backend, error in connection.missing.items():
            if request.formats:
                raise error
            listener(
                Warned(error.code, f"{backend} does not answer on {request.target.name}: {error.message}", error.hint)
            )
        yield connection


def _open(request: Request, listener: Listener, connection: Connection) -> tuple[Inputs, RunContext]:
    profile_named(request.profile)
    validate(request)
    inputs = open_inputs(request.source, request.recipe, listener=listener)
    validate_inputs(request, inputs)
    store = Store(request.out / ".store")
    times = layer_times_on(connection, request.target, threads=request.threads, listener=listener)
    seed = request.source.seed
    return inputs, RunContext(
        inputs.model, inputs.data, request.target, store, listener, seed, connection, times, inputs.task
    )


def _with_checkpoint(request: Request, inputs: Inputs) -> Request:
    """The network in memory as a file of the run, so that its report has something to be about; written when the inputs
    are known to be right."""
    from edgecnn.models import save

    make_folder(request.out)
    file = request.out / f"{request.source.checkpoint}.safetensors"
    save(file, request.source.network, architecture=inputs.model.name)
    return replace(request, source=replace(request.source, checkpoint=file))


def _assess(assessments: Mapping[Kind, Assessment], context: RunContext, request: Request) -> None:
    """Lint every file, run it on the images, compare it with PyTorch. An error of one file stays with it."""
    images = context.data.evaluation or context.data.calibration
    for assessment in assessments.values():
        if assessment.error is not None:
            continue
        try:
            validate_source(assessment, assessments)
            lint(assessment, context)
            for warning in assessment.fusion.warnings if assessment.fusion else ():
                context.listener(Warned("fusion", f"{assessment.name}: {warning}"))
            answer(assessment, images, context, threads=request.threads)
            verify(assessment, images, context)
        except (InputError, CannotWrite):
            raise
        except EdgecnnError as error:
            assessment.error = error
            context.listener(Warned(error.code, f"{assessment.name} failed: {error.message}", error.why))


def _note(warnings: list[str], event: Warned) -> None:
    """Keep a warning for the report, which has those of fusion in its rows."""
    if event.code != "fusion":
        warnings.append(f"{event.message}; {event.hint}" if event.hint else event.message)
