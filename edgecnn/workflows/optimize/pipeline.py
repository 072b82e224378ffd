"""The main path: open → (compress) → export → quantize → lint → verify → measure → judge → report."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from edgecnn import __version__
from edgecnn.core.artifact import Artifact, Format, Kind, sha256_of
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, install_hint
from edgecnn.core.events import Finished, Listener, Started, Warned, scoped
from edgecnn.core.store import CannotWrite, Store, sweep
from edgecnn.measure.connection import Connection, connect, this_host
from edgecnn.measure.effort import profile_named
from edgecnn.measure.layer_times import layer_times_on
from edgecnn.probe import facts
from edgecnn.report.facts import BudgetFacts, DataFacts, ModelFacts, RecipeFacts, StageFacts, facts_of
from edgecnn.report.model import Report
from edgecnn.report.search import Search
from edgecnn.workflows.inputs import Inputs, open_inputs
from edgecnn.workflows.optimize import file_names, recommendation, results
from edgecnn.workflows.optimize.assessment import Assessment, answer, gather, lint, reference, time_all, verify
from edgecnn.workflows.optimize.execution import Execution, execute, finished
from edgecnn.workflows.optimize.output import write_run
from edgecnn.workflows.optimize.planning import RunContext, Step, steps, versions
from edgecnn.workflows.optimize.request import Request, refuse, refuse_with
from edgecnn.workflows.optimize.search import Ladder, last_made, search

PACKAGES = (
    *("torch", "torchvision", "timm", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy", "pillow"),
    *("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "tensorrt-rtx-cu13-bindings"),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One step of a plan: what it would make, whether it is there already, what is missing."""

    name: str
    format: str
    options: Mapping[str, Any]
    cached: bool
    missing: str | None


def plan(request: Request, *, listener: Listener) -> tuple[Inputs, list[Planned]]:
    """What `run` would do. Reads the inputs, runs nothing."""
    inputs, context = _begin(request, listener, this_host())
    planned = []
    for format in request.wanted:
        for step in steps(request.recipe, format, context):
            cached = finished(step, context.store) is not None
            planned.append(Planned(step.name, format, step.stage.options(), cached, step.missing))
    return inputs, planned


def run(request: Request, *, listener: Listener) -> Report:
    """The main job. Raises EdgecnnError when the inputs are wrong or no artifact at all could be made; an artifact
    that fails alone becomes a row of the report."""
    warnings: list[str] = []
    listener = scoped(listener, on_warning=partial(_note, warnings))
    with _site(request, listener) as connection:
        return _run(request, _begin(request, listener, connection), warnings)


def _run(request: Request, begun: tuple[Inputs, RunContext], warnings: list[str]) -> Report:
    inputs, context = begun
    executions = build(request, context)
    found = gather(executions, context)
    _examine(found, inputs, context, request)
    executions, searches = _climb(executions, found, context, request)
    samples = time_all(
        found, context, profile=profile_named(request.profile), threads=request.threads, again=request.remeasure
    )
    report = _report(request, (inputs, context), executions, found=found, warnings=warnings, searches=searches)
    provenance = _provenance(request, inputs, context.connection)
    networks = file_names.network_files(executions)
    write_run(
        request.out,
        report,
        found=found,
        networks=networks,
        data=inputs.data,
        decoder=context.task.decoder,
        provenance=provenance,
        samples=samples,
    )
    return report


def build(request: Request, context: RunContext) -> list[Execution]:
    """Walk every lane; the output folder is touched when it is clear that there is something to do. Raises the first
    error when nothing came of any of them."""
    checkpoint = _checkpoint(request, context)
    planned: dict[Format, list[Step]] = {format: steps(request.recipe, format, context) for format in request.wanted}
    if request.formats:
        _refuse_missing(planned)
    context.store.prepare()
    for folder in (request.out, request.out / "artifacts"):
        sweep(folder)
    executions = [execute(format, todo, source=checkpoint, context=context) for format, todo in planned.items()]
    if not any(execution.artifacts for execution in executions):
        for execution in executions:
            for error in execution.failed.values():
                raise error
        _refuse_missing(planned)
    return executions


def _checkpoint(request: Request, context: RunContext) -> Artifact:
    return Artifact(request.source.checkpoint, "torch", "fp32", (), (), context.model.sha256)


def _climb(
    executions: Sequence[Execution], found: dict[Kind, Assessment], context: RunContext, request: Request
) -> tuple[list[Execution], list[Search]]:
    """Each lane as the ladder leaves it, and how it was climbed; without images to judge on nothing is."""
    if context.data.evaluation is None or not request.recipe.ladder:
        return list(executions), []
    ladder = Ladder(
        recipe=request.recipe,
        budget=request.budget,
        here=request.here,
        threads=request.threads,
        profile=profile_named(request.profile),
    )
    source = _checkpoint(request, context)
    climbed = [search(execution, found, context, ladder=ladder, source=source) for execution in executions]
    return [execution for execution, _ in climbed], [told for _, told in climbed if told is not None]


def _refuse_missing(planned: Mapping[Format, Sequence[Step]]) -> None:
    """A format asked for by name is not left out in silence."""
    for format, todo in planned.items():
        extra = next((step.missing for step in todo if step.missing), None)
        if extra:
            raise MissingError(
                "missing-extra",
                f"{format} needs packages that are not installed",
                hint=install_hint(extra),
            )


@contextmanager
def _site(request: Request, listener: Listener) -> Iterator[Connection]:
    """Where the files will be run: asked before any work, for a board that does not answer is found out first."""
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


def _begin(request: Request, listener: Listener, connection: Connection) -> tuple[Inputs, RunContext]:
    profile_named(request.profile)
    refuse(request)
    inputs = open_inputs(request.source, request.recipe, listener=listener)
    refuse_with(request, inputs)
    store = Store(request.out / ".store")
    times = layer_times_on(connection, request.target, threads=request.threads, listener=listener)
    seed = request.source.seed
    return inputs, RunContext(
        inputs.model, inputs.data, request.target, store, listener, seed, connection, times, inputs.task
    )


def _examine(found: Mapping[Any, Assessment], inputs: Inputs, context: RunContext, request: Request) -> None:
    """Lint, answers, parity. What goes wrong with one artifact stays with it."""
    images = inputs.data.evaluation or inputs.data.calibration
    for assessment in found.values():
        expected, record = reference(assessment.model, images, context)
        assessment.records.append(record)
        if assessment.error is not None:
            continue
        try:
            lint(assessment, context)
            for warning in assessment.fusion.warnings if assessment.fusion else ():
                context.listener(Warned("fusion", f"{assessment.name}: {warning}"))
            answer(assessment, images, context, threads=request.threads)
            verify(assessment, expected, context.task)
        except (InputError, CannotWrite):
            raise
        except EdgecnnError as error:
            assessment.error = error
            context.listener(Warned(error.code, f"{assessment.name} failed: {error.message}", error.why))


def _report(
    request: Request,
    begun: tuple[Inputs, RunContext],
    executions: Sequence[Execution],
    *,
    found: Mapping[Any, Assessment],
    warnings: Sequence[str],
    searches: Sequence[Search],
) -> Report:
    inputs, connection = begun[0], begun[1].connection
    judged, task = inputs.data.evaluation is not None, begun[1].task
    rows = results.rows(executions, found, task=task, max_drop=request.budget.max_drop, judged=judged)
    rows = results.limited(
        rows, [last_made(execution) for execution in executions], budget=request.budget, here=request.here
    )
    outcome, why = recommendation.overall(rows, task)
    doubts = results.doubts(found, task) if judged else []
    records = [record for execution in executions for record in execution.records]
    records += _first_of_each(record for item in found.values() for record in item.records)
    budget = BudgetFacts(request.budget.max_drop, request.budget.max_latency, request.budget.max_size)
    return Report(
        title=f"{request.source.checkpoint.name} for {request.target.title}",
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
            *recommendation.changes(records),
            *recommendation.conclusions(rows, here=request.here, budget=budget),
        ),
        warnings=tuple(dict.fromkeys([*warnings, *doubts])),
        stages=tuple(facts_of(StageFacts, record) for record in records),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        budget=budget,
        searches=tuple(searches),
    )


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
    """What a reader must know who takes the figures for the board's."""
    if connection.emulated:
        return "judged on an emulated board: its arithmetic is the board's, its times are not, so none is claimed"
    if request.target.local or not connection.local:
        return ""
    way = f"; --device {request.target.name} runs them there" if request.target.connect else ""
    return f"measured and judged on this host, not on the {request.target.title}{way}"


def _data_facts(request: Request, inputs: Inputs) -> dict[str, Any]:
    """Where the recipe trains, the images it learned from are among what a result can be told by."""
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


def _provenance(request: Request, inputs: Inputs, connection: Connection) -> dict[str, Any]:
    return {
        "checkpoint": {"file": str(request.source.checkpoint), "sha256": sha256_of(request.source.checkpoint)},
        "request": {
            "target": request.target.name,
            "formats": list(request.wanted),
            "budget": request.budget.model_dump(mode="json"),
            "profile": request.profile,
            "threads": request.threads,
            "seed": request.source.seed,
            "model": request.source.architecture,
            "data": str(request.source.data) if request.source.data else None,
            "class_map": str(request.source.class_map) if request.source.class_map else None,
        },
        "model": asdict(_model_facts(inputs)),
        "data": _data_facts(request, inputs),
        "preprocessing": inputs.data.preprocessing.to_dict(),
        "recipe": request.recipe.to_dict(),
        "versions": {"edgecnn": __version__, "python": platform.python_version(), **versions(PACKAGES)},
        "host": facts.describe(),
        "device": request.target.model_dump(mode="json"),
        "ran_on": {"local": connection.local, "facts": dict(connection.facts), "runtimes": dict(connection.runtimes)},
    }


def _note(warnings: list[str], event: Warned) -> None:
    """Keep a warning for the report."""
    if event.code != "fusion":
        warnings.append(f"{event.message}; {event.hint}" if event.hint else event.message)
