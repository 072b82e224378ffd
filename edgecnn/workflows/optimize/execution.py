"""Execution: the stages that lead from the checkpoint to one format, each cached in the store or run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.errors import EdgecnnError, InputError, StepError, install_hint
from edgecnn.core.events import Finished, Started, Warned, scoped
from edgecnn.core.stage import Model
from edgecnn.core.store import CannotWrite, Store
from edgecnn.workflows.optimize.planning import CHECKPOINT, PlannedStage, RunContext, versions


@dataclass(slots=True)
class Execution:
    """What came of it: artifacts by kind in the order made, and why it ended early, if it did.

    `networks` are the changed checkpoints on the way, `models` the network that each kind computes.
    """

    format: FormatName
    artifacts: dict[Kind, Artifact] = field(default_factory=dict)
    networks: dict[Kind, Artifact] = field(default_factory=dict)
    models: dict[Kind, Model] = field(default_factory=dict)
    failed: dict[Kind, EdgecnnError] = field(default_factory=dict)
    skipped: dict[Kind, str] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def final(self) -> Kind | None:
        """What the recipe leads to in this format: the file that is meant to be delivered."""
        made = [kind for kind in self.artifacts if not kind.is_baseline]
        return made[-1] if made else None


COSTS = ("macs", "parameters", "size", "pruned_layers")
"""What of a stage's `facts.json` goes into the report."""


def execute(format: FormatName, stages: Sequence[PlannedStage], *, source: Artifact, context: RunContext) -> Execution:
    """Run the planned stages of one format. A failed or skipped one ends what depends on it; the rest goes on.

    Raises InputError and CannotWrite, which concern the whole run.
    """
    execution = Execution(format, models={CHECKPOINT: context.model})
    have: dict[Kind, Artifact] = {CHECKPOINT: source}
    for planned in stages:
        if planned.missing:
            execution.skipped[planned.makes] = f"needs the extra: {install_hint(planned.missing)}"
        elif planned.source not in have:
            execution.skipped[planned.makes] = f"the {planned.source} it starts from is not there"
        else:
            began = time.monotonic()
            context.listener(Started(planned.name))
            try:
                before = execution.models[planned.source]
                artifact, cached = fetch_or_run(planned, have[planned.source], context, model=before)
                execution.models[planned.makes] = _network_of(planned, artifact, before, context)
            except (InputError, CannotWrite):
                raise  # the user has to change something: the other artifacts would only hide it
            except EdgecnnError as error:
                execution.failed[planned.makes] = error
                said = "" if error.message.startswith(planned.name) else f"{planned.name} failed: "
                context.listener(Warned(error.code, f"{said}{error.message}", error.why))
                continue
            seconds = time.monotonic() - began
            have[planned.makes] = artifact
            if planned.stage.delivers:
                (execution.networks if artifact.format == "torch" else execution.artifacts)[planned.makes] = artifact
            execution.records.append(_record(planned, artifact, seconds, cached))
            context.listener(Finished(planned.name, seconds, cached))
    return execution


def _network_of(planned: PlannedStage, artifact: Artifact, before: Model, context: RunContext) -> Model:
    """What an artifact computes: the network it was made from, unless it is a changed network itself."""
    if artifact.format != "torch":
        return before
    from edgecnn.models import reopen

    student = planned.stage.options().get("student")
    model: Model = reopen(artifact.path, near=(before.name, *([student] if student else []))).with_preprocessing(
        context.data.preprocessing
    )
    return model


def fetch_or_run(
    planned: PlannedStage, source: Artifact, context: RunContext, *, model: Model
) -> tuple[Artifact, bool]:
    """The artifact of a planned stage, and whether it was cached; then its warnings are repeated.

    `model` is the network that `source` computes. Raises StepError `broken-promise` where the stage makes another kind
    of artifact than it promised.
    """
    store, name = context.store, planned.name.replace(" ", "-")
    work = store.find(name, planned.key)
    if work is not None:
        for warning in work.facts.get("warnings", ()):
            context.listener(Warned(**warning))
        return Artifact.from_dict(work.facts["artifact"], work.folder), True
    warnings: list[Warned] = []
    with translated(planned.name), store.scratch(name, planned.key) as scratch, store.work(name, planned.key) as work:
        stage_context = context.stage_context(
            work.folder, scratch, model=model, format=planned.format, name=planned.name
        )
        stage_context = replace(stage_context, listener=scoped(stage_context.listener, on_warning=warnings.append))
        artifact = planned.stage.run(source, stage_context)
        _validate_promise(planned, artifact)
        work.facts["artifact"] = replace(artifact, variant=planned.makes.variant).to_dict()
        work.facts["warnings"] = [asdict(warning) for warning in warnings]
    stored = finished(planned, store)
    if stored is None:
        raise StepError(
            "lost-artifact", f"{planned.name} left no artifact in {store.root}", hint="run the command again"
        )
    return stored, False


def _validate_promise(planned: PlannedStage, artifact: Artifact) -> None:
    """Raise StepError where a stage made something else than `produces` said; the variant is the plan's affair."""
    if artifact.kind[:2] == planned.makes[:2] and artifact.path.is_file():
        return
    made = " ".join(artifact.kind[:2]) if artifact.path.is_file() else "no file"
    raise StepError(
        "broken-promise",
        f"the stage `{planned.stage.kind}` made {made} instead of {' '.join(planned.makes[:2])}",
        why="a stage makes what its `produces` says",
        hint="report it to the author of the stage",
    )


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


def finished(planned: PlannedStage, store: Store) -> Artifact | None:
    """The stored artifact of a planned stage, if it is there and its bytes are what they were."""
    work = store.find(planned.name.replace(" ", "-"), planned.key)
    return Artifact.from_dict(work.facts["artifact"], work.folder) if work is not None else None


def _record(planned: PlannedStage, artifact: Artifact, seconds: float, cached: bool) -> dict[str, Any]:
    return {
        "stage": planned.stage.kind,
        "makes": str(planned.makes),
        "options": planned.stage.options(),
        "tools": dict(versions(planned.stage.tools_for(planned.format))),
        "key": planned.key,
        "sha256": artifact.sha256,
        "seconds": round(seconds, 3),
        "cached": cached,
        **({"facts": facts} if (facts := _facts_of(artifact)) else {}),
    }


def _facts_of(artifact: Artifact) -> dict[str, Any]:
    """The costs before and after that a stage left beside its artifact; empty where it left none."""
    try:
        facts = json.loads((artifact.path.parent / "facts.json").read_text())
        return {name: facts[name] for name in COSTS if name in facts}
    except (OSError, ValueError, TypeError):
        return {}
