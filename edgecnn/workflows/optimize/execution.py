"""A lane: the way of one checkpoint to one format, stage by stage, each found in the store or run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecnn import __version__
from edgecnn.core.artifact import Artifact, Format, Kind
from edgecnn.core.errors import EdgecnnError, InputError, StepError, install_hint
from edgecnn.core.events import Event, Finished, Started, Tell, Warned, under
from edgecnn.core.stage import Context, Data, LayerTimes, Model, Stage
from edgecnn.core.store import CannotWrite, Store, digest_of
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.measure.connection import Site, this_host
from edgecnn.config.recipe import Recipe

CHECKPOINT = Kind("torch", "fp32")

HERE = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
        Deployment(format="tflite", backend="tflite", family="litert"),
        Deployment(format="tensorrt", backend="tensorrt", family="tensorrt"),
    ),
)
"""What single steps are made for: this machine, in each format. A network not yet exported serves all of them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage on its way to one format. `key` is the digest of all that decides the result; `missing` names the
    extra that has to be installed first."""

    stage: Stage
    format: Format
    source: Kind
    makes: Kind
    source_key: str
    key: str
    missing: str | None

    @property
    def name(self) -> str:
        return f"{self.stage.kind} {self.makes}"


@dataclass(slots=True)
class Lane:
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all stages of a run share. `site` is where files are run: the board itself, else this host."""

    model: Model
    data: Data
    target: DeviceProfile
    store: Store
    tell: Tell
    seed: int
    site: Site = field(default_factory=this_host)
    layer_times: LayerTimes | None = None

    def context(self, workdir: Path, scratch: Path, *, model: Model, format: Format, name: str) -> Context:
        """What a stage is given that works on `model`; its progress is told under `name`."""
        return Context(
            workdir=workdir,
            scratch=scratch,
            model=model,
            data=self.data,
            target=self.target,
            format=format,
            tell=under(name, self.tell),
            seed=self.seed,
            teacher=self.model,
            layer_times=self.layer_times,
        )


def steps(recipe: Recipe, format: Format, around: Surroundings) -> list[Step]:
    """The recipe's stages that apply on the way to `format`, in order. Runs nothing.

    A stage takes the latest artifact it accepts, so what follows what is decided by kinds; a precision that the
    target's backend does not have is told and left out. Where the network was changed before it reaches the format, the
    checkpoint itself goes there as well: what comes out is compared with it. Raises InputError when no stage leads to
    the format at all.
    """
    keys: dict[Kind, str] = {CHECKPOINT: digest_of([around.model.sha256, around.data.preprocessing.to_dict()])}
    found: list[Step] = []
    for stage in recipe.stages:
        step = _next_step(stage, format, keys, around)
        if step is None:
            continue
        if step.source.format == "torch" != step.makes.format and step.source != CHECKPOINT:
            baseline = _step(stage, format, CHECKPOINT, keys, around)
            if baseline is not None and baseline.makes not in keys:
                found.append(baseline)
                keys[baseline.makes] = baseline.key
        found.append(step)
        keys.pop(step.makes, None)  # what was made last is what the next stage takes
        keys[step.makes] = step.key
    if not found:
        raise InputError(
            "nothing-to-do",
            f"no stage of the recipe '{recipe.name}' leads to {format}",
            hint="a recipe begins with `export`: see `edgecnn recipes show int8`",
        )
    if all(step.makes.is_baseline for step in found) and len(recipe.stages) > 1:
        said = f"the recipe '{recipe.name}' makes nothing but FP32 in {format}"
        around.tell(Warned("nothing-made", said, "edgecnn recipes list: what the others do"))
    return found


def _next_step(stage: Stage, format: Format, keys: Mapping[Kind, str], around: Surroundings) -> Step | None:
    """The stage applied to the latest artifact it accepts, None where it accepts none."""
    deployment = around.target.deployment(format)
    for source in reversed(list(keys)):
        step = _step(stage, format, source, keys, around)
        if step is None:
            continue
        if deployment and step.makes.format == format and step.makes.precision not in deployment.precisions:
            around.tell(_left_out(stage, step.makes, around.target))
            return None
        return step
    return None


def _step(stage: Stage, format: Format, source: Kind, keys: Mapping[Kind, str], around: Surroundings) -> Step | None:
    makes = stage.produces(source, format)
    if makes is None:
        return None
    facts = {
        "stage": stage.kind,
        "options": stage.options(),
        "source": keys[source],
        "makes": makes,
        "family": stage.decides(around.target, format),
        "tools": versions(stage.tools),
        "edgecnn": __version__,
        "seed": around.seed,
        "calibration": around.data.calibration.digest if stage.reads_images else "",
        "training": around.data.training.digest if stage.trains and around.data.training is not None else "",
        "teacher": around.model.sha256 if stage.trains else "",
    }
    if stage.times_layers and around.layer_times is not None:
        facts["times"] = around.layer_times.identity(format)
    return Step(stage, format, source, makes, keys[source], digest_of(facts), stage.missing(format))


def _left_out(stage: Stage, makes: Kind, target: DeviceProfile) -> Warned:
    said = f"{target.name} has no {makes.precision} in {makes.format}: `{stage.kind}` is left out"
    return Warned("no-precision", said, f"edgecnn devices show {target.name}")


def walk(format: Format, planned: list[Step], *, source: Artifact, around: Surroundings) -> Lane:
    """Run the steps of one lane. A failed or skipped step ends what depends on it; the rest goes on.

    Raises InputError and CannotWrite, which concern the whole run.
    """
    lane = Lane(format, models={CHECKPOINT: around.model})
    have: dict[Kind, Artifact] = {CHECKPOINT: source}
    for step in planned:
        if step.missing:
            lane.skipped[step.makes] = f"needs the extra: {install_hint(step.missing)}"
        elif step.source not in have:
            lane.skipped[step.makes] = f"the {step.source} it starts from is not there"
        else:
            began = time.monotonic()
            around.tell(Started(step.name))
            try:
                artifact, cached = fetch_or_run(step, have[step.source], around, model=lane.models[step.source])
                lane.models[step.makes] = _network_of(artifact, lane.models[step.source], around)
            except (InputError, CannotWrite):
                raise  # the user has to change something: the other artifacts would only hide it
            except EdgecnnError as error:
                lane.failed[step.makes] = error
                said = "" if error.message.startswith(step.name) else f"{step.name} failed: "
                around.tell(Warned(error.code, f"{said}{error.message}", error.why))
                continue
            seconds = time.monotonic() - began
            have[step.makes] = artifact
            if step.stage.delivers:
                (lane.networks if artifact.format == "torch" else lane.artifacts)[step.makes] = artifact
            lane.records.append(_record(step, artifact, seconds, cached))
            around.tell(Finished(step.name, seconds, cached))
    return lane


def _network_of(artifact: Artifact, before: Model, around: Surroundings) -> Model:
    """What an artifact computes: the network it was made from, unless it is a changed network itself."""
    if artifact.format != "torch":
        return before
    from edgecnn.models import reopen

    model: Model = reopen(artifact.path).with_preprocessing(around.data.preprocessing)
    return model


def fetch_or_run(step: Step, source: Artifact, around: Surroundings, *, model: Model) -> tuple[Artifact, bool]:
    """The artifact of `step`, and whether it was found finished; then what it warned of is said again.

    `model` is the network that `source` computes.
    """
    store, name = around.store, step.name.replace(" ", "-")
    found = store.find(name, step.key)
    if found is not None:
        for warning in found.facts.get("warnings", ()):
            around.tell(Warned(**warning))
        return Artifact.from_dict(found.facts["artifact"], found.folder), True
    warned: list[Warned] = []
    with translated(step.name), store.scratch(name, step.key) as scratch, store.work(name, step.key) as work:
        context = around.context(work.folder, scratch, model=model, format=step.format, name=step.name)
        context = replace(context, tell=_kept(warned, context.tell))
        made = step.stage.run(source, context)
        work.facts["artifact"] = replace(made, variant=step.makes.variant).to_dict()
        work.facts["warnings"] = [asdict(warning) for warning in warned]
    kept = finished(step, store)
    if kept is None:
        raise StepError("lost-artifact", f"{step.name} left no artifact in {store.root}", hint="run the command again")
    return kept, False


def _kept(warned: list[Warned], tell: Tell) -> Tell:
    """Pass events on and keep the warnings: they belong to the artifact, also when it is found finished."""

    def told(event: Event) -> None:
        if isinstance(event, Warned):
            warned.append(event)
        tell(event)

    return told


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


def versions(packages: tuple[str, ...]) -> Mapping[str, str]:
    """Installed versions by distribution name; absent ones are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
