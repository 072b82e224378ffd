"""Planning: which stages lead to a format, and the digest of what decides each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgecnn import __version__
from edgecnn.config.recipe import Recipe
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError, MissingError, install_hint
from edgecnn.core.events import Listener, Warned, scoped
from edgecnn.core.stage import Context, Data, LayerTimes, Model, Stage
from edgecnn.core.store import Store, digest_of
from edgecnn.formats.registry import formats
from edgecnn.measure.connection import Connection, this_host
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.tasks import task as tasks
from edgecnn.tasks.task import Task

CHECKPOINT = Kind("torch", "fp32")

HERE = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=tuple(Deployment(format=item.name, backend=item.backend, family=item.family) for item in formats()),
)
"""What single steps are made for: this machine, in each format. A network not yet exported serves all of them."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One stage on its way to one format. `key` is the digest of all that decides the result; `missing` names the
    extra that has to be installed first."""

    stage: Stage
    format: FormatName
    source: Kind
    makes: Kind
    key: str
    missing: str | None

    @property
    def name(self) -> str:
        return f"{self.stage.kind} {self.makes}"


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all stages of a run share. `connection` is where files are run: the board itself, else this host. Each
    verdict holds with `confidence`."""

    model: Model
    data: Data
    target: DeviceProfile
    store: Store
    listener: Listener
    seed: int
    connection: Connection = field(default_factory=this_host)
    layer_times: LayerTimes | None = None
    task: Task = field(default_factory=lambda: tasks.find(tasks.DEFAULT))
    confidence: float = CONFIDENCE

    def stage_context(self, workdir: Path, scratch: Path, *, model: Model, format: FormatName, name: str) -> Context:
        """What a stage is given that works on `model`; its progress is reported under `name`."""
        return Context(
            workdir=workdir,
            scratch=scratch,
            model=model,
            data=self.data,
            target=self.target,
            format=format,
            listener=scoped(self.listener, name),
            seed=self.seed,
            teacher=self.model,
            layer_times=self.layer_times,
            task=self.task.name,
        )


def checkpoint_artifact(path: Path, context: RunContext) -> Artifact:
    """The user's checkpoint, as the first stage takes it."""
    return Artifact(path, "torch", "fp32", (), (), context.model.sha256)


def plan_stages(recipe: Recipe, format: FormatName, context: RunContext) -> list[PlannedStage]:
    """The recipe's stages that apply on the way to `format`, in order. Runs nothing.

    A stage takes the latest artifact it accepts, so what follows what is decided by kinds; a precision that the
    target's backend does not have is left out with a warning. Where the network was changed before it reaches the
    format, the checkpoint itself goes there as well: what comes out is compared with it. Raises InputError when no
    stage leads to the format at all.
    """
    about = [context.model.sha256, context.data.preprocessing.to_dict(), getattr(context.model, "class_names", None)]
    if context.task.name != tasks.DEFAULT:  # it is written into the files
        about.append(context.task.name)
    keys: dict[Kind, str] = {CHECKPOINT: digest_of(about)}
    planned: list[PlannedStage] = []
    for stage in recipe.stages:
        following = _plan_next(stage, format, keys, context)
        if following is None:
            continue
        if following.source.format == "torch" != following.makes.format and following.source != CHECKPOINT:
            baseline = _plan(stage, format, CHECKPOINT, keys, context)
            if baseline is not None and baseline.makes not in keys:
                planned.append(baseline)
                keys[baseline.makes] = baseline.key
        planned.append(following)
        keys.pop(following.makes, None)  # what was made last is what the next stage takes
        keys[following.makes] = following.key
    if not planned:
        raise InputError(
            "nothing-to-do",
            f"no stage of the recipe '{recipe.name}' leads to {format}",
            hint="a recipe begins with `export`: see `edgecnn recipes show int8`",
        )
    if all(item.makes.is_baseline for item in planned) and len(recipe.stages) > 1:
        said = f"the recipe '{recipe.name}' makes nothing but FP32 in {format}"
        context.listener(Warned("nothing-made", said, "edgecnn recipes list: what the others do"))
    return planned


def _plan_next(stage: Stage, format: FormatName, keys: Mapping[Kind, str], context: RunContext) -> PlannedStage | None:
    """The stage applied to the latest artifact it accepts, None where it accepts none."""
    deployment = context.target.deployment(format)
    for source in reversed(list(keys)):
        planned = _plan(stage, format, source, keys, context)
        if planned is None:
            continue
        if deployment and planned.makes.format == format and planned.makes.precision not in deployment.precisions:
            context.listener(_left_out(stage, planned.makes, context.target))
            return None
        return planned
    return None


def _plan(
    stage: Stage, format: FormatName, source: Kind, keys: Mapping[Kind, str], context: RunContext
) -> PlannedStage | None:
    makes = stage.produces(source, format)
    if makes is None:
        return None
    facts = {
        "stage": stage.kind,
        "options": stage.options(),
        "source": keys[source],
        "makes": makes,
        "family": stage.decides(context.target, format),
        "tools": versions(stage.tools_for(format)),
        "edgecnn": __version__,
        "seed": context.seed,
        "calibration": context.data.calibration.digest if "calibration" in stage.inputs() else "",
        "training": context.data.training.digest if stage.trains and context.data.training is not None else "",
        "teacher": context.model.sha256 if stage.trains else "",
    }
    if "layer times" in stage.inputs() and context.layer_times is not None:
        facts["times"] = context.layer_times.identity(format)
    return PlannedStage(stage, format, source, makes, digest_of(facts), stage.missing(format))


def _left_out(stage: Stage, makes: Kind, target: DeviceProfile) -> Warned:
    said = f"{target.name} has no {makes.precision} in {makes.format}: `{stage.kind}` is left out"
    return Warned("no-precision", said, f"edgecnn devices show {target.name}")


def validate_extras(planned: Mapping[FormatName, Sequence[PlannedStage]]) -> None:
    """Raise MissingError: a format asked for by name is not left out in silence."""
    for format, stages in planned.items():
        extra = next((stage.missing for stage in stages if stage.missing), None)
        if extra:
            raise MissingError(
                "missing-extra",
                f"{format} needs packages that are not installed",
                hint=install_hint(extra),
            )


def versions(packages: tuple[str, ...]) -> Mapping[str, str]:
    """Installed versions by distribution name; absent ones are left out."""
    installed = {}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
