"""A lane: the way of one checkpoint to one format, stage by stage, each found in the store or run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgecnn.core.artifact import Artifact, Format, Kind
from edgecnn.core.errors import EdgecnnError, InputError, StepError, install_hint
from edgecnn.core.events import Finished, Started, Warned, scoped
from edgecnn.core.stage import Model
from edgecnn.core.store import CannotWrite, Store
from edgecnn.workflows.optimize.planning import CHECKPOINT, RunContext, Step, versions


@dataclass(slots=True)
class Execution:
    """What came of it: artifacts by kind in the order made, and why it ended early, if it did.

    `networks` are the changed checkpoints on the way, `models` the network that each kind computes.
    """

    format: Format
    artifacts: dict[Kind, Artifact] = field(default_factory=dict)
    networks: dict[Kind, Artifact] = field(default_factory=dict)
    models: dict[Kind, Model] = field(default_factory=dict)
    failed: dict[Kind, EdgecnnError] = field(default_factory=dict)
    skipped: dict[Kind, str] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)


COSTS = ("macs", "parameters", "size", "pruned_layers")
"""What of a stage's `facts.json` goes into the report."""


def execute(format: Format, planned: list[Step], *, source: Artifact, context: RunContext) -> Execution:
    """Run the steps of one lane. A failed or skipped step ends what depends on it; the rest goes on.

    Raises InputError and CannotWrite, which concern the whole run.
    """
    execution = Execution(format, models={CHECKPOINT: context.model})
    have: dict[Kind, Artifact] = {CHECKPOINT: source}
    for step in planned:
        if step.missing:
            execution.skipped[step.makes] = f"needs the extra: {install_hint(step.missing)}"
        elif step.source not in have:
            execution.skipped[step.makes] = f"the {step.source} it starts from is not there"
        else:
            began = time.monotonic()
            context.listener(Started(step.name))
            try:
                artifact, cached = fetch_or_run(step, have[step.source], context, model=execution.models[step.source])
                execution.models[step.makes] = _network_of(artifact, execution.models[step.source], context)
            except (InputError, CannotWrite):
                raise  # the user has to change something: the other artifacts would only hide it
            except EdgecnnError as error:
                execution.failed[step.makes] = error
                said = "" if error.message.startswith(step.name) else f"{step.name} failed: "
                context.listener(Warned(error.code, f"{said}{error.message}", error.why))
                continue
            seconds = time.monotonic() - began
            have[step.makes] = artifact
            if step.stage.delivers:
                (execution.networks if artifact.format == "torch" else execution.artifacts)[step.makes] = artifact
            execution.records.append(_record(step, artifact, seconds, cached))
            context.listener(Finished(step.name, seconds, cached))
    return execution


def _network_of(artifact: Artifact, before: Model, context: RunContext) -> Model:
    """What an artifact computes: the network it was made from, unless it is a changed network itself."""
    if artifact.format != "torch":
        return before
    from edgecnn.models import reopen

    model: Model = reopen(artifact.path).with_preprocessing(context.data.preprocessing)
    return model


def fetch_or_run(step: Step, source: Artifact, context: RunContext, *, model: Model) -> tuple[Artifact, bool]:
    """The artifact of `step`, and whether it was found finished; then what it warned of is said again.

    `model` is the network that `source` computes.
    """
    store, name = context.store, step.name.replace(" ", "-")
    found = store.find(name, step.key)
    if found is not None:
        for warning in found.facts.get("warnings", ()):
            context.listener(Warned(**warning))
        return Artifact.from_dict(found.facts["artifact"], found.folder), True
    warned: list[Warned] = []
    with translated(step.name), store.scratch(name, step.key) as scratch, store.work(name, step.key) as work:
        stage_context = context.stage_context(work.folder, scratch, model=model, format=step.format, name=step.name)
        stage_context = replace(stage_context, listener=scoped(stage_context.listener, on_warning=warned.append))
        made = step.stage.run(source, stage_context)
        work.facts["artifact"] = replace(made, variant=step.makes.variant).to_dict()
        work.facts["warnings"] = [asdict(warning) for warning in warned]
    kept = finished(step, store)
    if kept is None:
        raise StepError("lost-artifact", f"{step.name} left no artifact in {store.root}", hint="run the command again")
    return kept, False


@contextmanager
def translated(name: str) -> Iterator[None]:
    """A plug-in's own error as StepError: it must not take the other artifacts down."""
    try:
        yield
    except (EdgecnnError, MemoryError):
        raise
    except Exception as error:
        raise StepError(
            "stage-failed", f"{name} failed", why=f"{type(error).__name__}: {error}", hint="--verbose shows where"
        ) from error


def finished(step: Step, store: Store) -> Artifact | None:
    """The stored artifact of a step, if it is there and its bytes are what they were."""
    found = store.find(step.name.replace(" ", "-"), step.key)
    return Artifact.from_dict(found.facts["artifact"], found.folder) if found is not None else None


def _record(step: Step, artifact: Artifact, seconds: float, cached: bool) -> dict[str, Any]:
    return {
        "stage": step.stage.kind,
        "makes": str(step.makes),
        "options": step.stage.options(),
        "tools": dict(versions(step.stage.tools)),
        "key": step.key,
        "sha256": artifact.sha256,
        "seconds": round(seconds, 3),
        "cached": cached,
        **({"facts": facts} if (facts := _facts_of(artifact)) else {}),
    }


def _facts_of(artifact: Artifact) -> dict[str, Any]:
    """The costs before and after that a stage left beside its artifact; empty where it left none."""
    try:
        found = json.loads((artifact.path.parent / "facts.json").read_text())
        return {name: found[name] for name in COSTS if name in found}
    except (OSError, ValueError, TypeError):
        return {}
