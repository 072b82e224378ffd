"""Single stages: one part of the pipeline alone, from a checkpoint to one file, without measuring or judging."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgecnn.config.recipe import Calibration, Recipe
from edgecnn.config.yaml_file import bad_option
from edgecnn.core.artifact import DEFAULT_FORMAT, Artifact, FormatName
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener
from edgecnn.core.stage import Stage
from edgecnn.core.store import Store, cannot_write, require_folder
from edgecnn.core.temporary import temporary_folder
from edgecnn.data.preprocessing import Source
from edgecnn.measure.connection import this_host
from edgecnn.measure.layer_times import layer_times_on
from edgecnn.workflows.inputs import Inputs, open_inputs
from edgecnn.workflows.optimize.execution import Execution, execute
from edgecnn.workflows.optimize.output import copy_into_place
from edgecnn.workflows.optimize.planning import HERE, RunContext, checkpoint_artifact, plan_stages, validate_extras

CHECKPOINT_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class StageRun:
    """What the stages made of the checkpoint. `artifact` is the last file, still in the run's own store."""

    artifact: Artifact
    execution: Execution
    inputs: Inputs
    context: RunContext


def stage_from(kind: type[Stage], options: Mapping[str, Any]) -> Any:
    """The stage with these options. Raises InputError `bad-option` in the words of the command of the same name."""
    try:
        return kind(**options)
    except ValidationError as error:
        raise bad_option(error, command=kind.kind) from error


def validate_out(out: Path, suffix: str) -> None:
    """Raise InputError `wrong-suffix` for another kind of file, CannotWrite for a folder."""
    if out.is_dir():
        raise cannot_write(out, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if out.suffix != suffix:
        raise InputError(
            "wrong-suffix",
            f"--out {out} does not end in {suffix}",
            why="commands and runtimes tell a file's format by its suffix",
            hint=f"--out {out.with_suffix(suffix) if out.suffix else f'{out}{suffix}'}",
        )


def checkpoint_out(out: Path | None, source: Source, made: str) -> Path:
    """Where a checkpoint goes: `out`, with its suffix where it has none; by default a file beside the checkpoint that
    says what was `made` of it.

    Raises InputError `wrong-suffix`, and `out-exists` where the default name is taken: training may be in that file.
    """
    if out is not None:
        out = out if out.suffix else out.with_suffix(CHECKPOINT_SUFFIX)
        validate_out(out, CHECKPOINT_SUFFIX)
        return out
    out = source.checkpoint.with_name(f"{source.checkpoint.stem}.{made}{CHECKPOINT_SUFFIX}")
    if os.path.lexists(out):
        raise InputError(
            "out-exists",
            f"{out} is there already",
            why="without --out nothing is replaced: what is in it may have taken hours",
            hint=f"--out {out} replaces it; or give another name",
        )
    return out


@contextmanager
def run(
    stages: tuple[Stage, ...],
    source: Source,
    out: Path,
    *,
    listener: Listener,
    format: FormatName = DEFAULT_FORMAT,
    calibration_images: int = 1,
    reads_labels: bool = True,
) -> Iterator[StageRun]:
    """Run `stages` on the checkpoint of `source`; `out` gets the last file when the block ends well.

    A run that ends in a checkpoint keeps its store beside `out` when it is killed or fails, and continues when it is
    called again. All images may lack labels; those they have are the network's unless nothing `reads_labels`. Raises
    InputError, MissingError or StepError.
    """
    require_folder(out.parent)
    name = stages[-1].kind
    recipe = Recipe(name=name, stages=stages, calibration=Calibration(images=calibration_images))
    inputs = open_inputs(source, recipe, listener=listener, judges=False, reads_labels=reads_labels)
    with _store(out, name, resumable=out.suffix == CHECKPOINT_SUFFIX) as store:
        connection = this_host()
        times = layer_times_on(connection, HERE, threads=1, listener=listener)
        context = RunContext(
            inputs.model, inputs.data, HERE, store, listener, source.seed, connection, times, task=inputs.task
        )
        planned = plan_stages(recipe, format, context)
        validate_extras({format: planned})
        checkpoint = checkpoint_artifact(source.checkpoint, context)
        execution = execute(format, planned, source=checkpoint, context=context)
        for error in execution.failed.values():
            raise error
        artifact = (execution.artifacts | execution.networks).get(planned[-1].makes)
        if artifact is None:
            raise StepError("nothing-made", f"`{name}` made no file", hint="--verbose shows the steps")
        yield StageRun(artifact, execution, inputs, context)
        copy_into_place(artifact.path, out)


@contextmanager
def _store(out: Path, name: str, *, resumable: bool) -> Iterator[Store]:
    """A temporary store; one that is `resumable` lies beside `out` and stays there after a failure which another try
    could mend."""
    if not resumable:
        with temporary_folder("stage") as folder:
            yield Store(Path(folder))
        return
    store = Store(out.parent / f".{out.stem}.{name}")
    store.prepare()
    try:
        yield store
    except InputError:
        shutil.rmtree(store.root, ignore_errors=True)
        raise
    shutil.rmtree(store.root, ignore_errors=True)


def file_facts(artifact: Artifact) -> dict[str, Any]:
    """The JSON fields that say which file was made."""
    return {**artifact.to_dict(), "path": str(artifact.path), "size_bytes": artifact.size_bytes}


def file_line(artifact: Artifact) -> str:
    """Path, kind and size, for a person."""
    return f"{artifact.path}  {artifact.kind}  {artifact.size_bytes / 1e6:.2f} MB"
