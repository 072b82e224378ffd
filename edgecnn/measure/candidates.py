"""Candidates of a benchmark from model files: which runtime, how many threads, which batch sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.config.devices import known_backends
from edgecnn.core.artifact import Artifact
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError, did_you_mean
from edgecnn.core.events import Listener, ignore
from edgecnn.formats.files import open_artifact
from edgecnn.formats.registry import format_named, format_of_backend, known_formats, runs_here
from edgecnn.measure.connection import Connection
from edgecnn.measure.fleet import Failure, Planner
from edgecnn.measure.latency import Candidate
from edgecnn.measure.shapes import chosen_shapes
from edgecnn.probe import backends

LARGEST_BATCH = 4096


def open_models(paths: Sequence[Path]) -> list[Artifact]:
    """The files as artifacts. Raises InputError for one that is no model, or is given twice."""
    artifacts = [open_artifact(path) for path in paths]
    real = [path.resolve() for path in paths]
    twice = [path for path, where in zip(paths, real, strict=True) if real.count(where) > 1]
    if twice:
        raise InputError("duplicate-model", f"{twice[0]} is given twice", hint="name each model once")
    return artifacts


def batches_of(text: str) -> tuple[int, ...]:
    """`1` or `1,8,32`. Raises InputError for anything but whole numbers from 1 to 4096, each once."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or len(set(sizes)) != len(sizes) or not all(0 < size <= LARGEST_BATCH for size in sizes):
        raise InputError("bad-option", f"cannot read --batch {text}", hint="write sizes such as 1 or 1,8,32")
    return sizes


def planner(
    artifacts: Sequence[Artifact],
    *,
    backend: str | None,
    threads: int | None,
    batches: Sequence[int],
    end_to_end: bool,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    listener: Listener = ignore,
) -> Planner:
    """What to measure on a device once it has answered: every model at every batch size. Sizes that a file leaves free
    are those of `shapes`, by input, else chosen here and told to `listener`.

    Raises InputError unknown-backend or backend-mismatch for a `backend` that cannot run one of the files.
    """
    if backend is not None:
        for artifact in artifacts:
            _validate_backend(artifact, backend)
    names = _names([artifact.path for artifact in artifacts])
    sizes = chosen_shapes(artifacts, shapes or {}, batches, listener=listener)

    def plan(device: DeviceProfile, connection: Connection) -> tuple[list[Candidate], list[Failure]]:
        cores = threads or connection.usable_cores
        candidates: list[Candidate] = []
        failures: list[Failure] = []
        for name, artifact in zip(names, artifacts, strict=True):
            try:
                runtime = backend or runtime_of(artifact, device)
            except EdgecnnError as error:
                failures.append(Failure(name, error))
                continue
            for batch in batches:
                label = name if len(batches) == 1 else f"{name} x{batch}"
                options = {"shapes": chosen} if (chosen := sizes[artifact.path, batch]) else {}
                candidates.append(Candidate(label, artifact, runtime, cores, options, batch, end_to_end))
        return candidates, failures

    return plan


def runtime_of(artifact: Artifact, device: DeviceProfile) -> str:
    """The backend of the device's first deployment that takes the file.

    An ONNX file serves TensorRT as well. Raises InputError when the device runs nothing of the kind.
    """
    format = format_named(artifact.format)
    dialects = [item.name for item in known_formats() if item.suffix == format.suffix and not format.dialect]
    for item in device.deployments:
        if item.format in (format.name, *dialects) and not (device.local and not runs_here(item.backend)):
            return item.backend
    if device.local:
        return format.backend_here
    raise InputError(
        "wrong-format",
        f"{device.name} does not run {artifact.path.name}",
        why="it runs: " + ", ".join(f"{item.format} ({item.backend})" for item in device.deployments),
        hint="choose a file of another format, or a runtime with --backend",
    )


def _validate_backend(artifact: Artifact, backend: str) -> None:
    if backend not in known_backends():
        hint = did_you_mean(backend, list(known_backends()))
        raise InputError("unknown-backend", f"no backend is called '{backend}'", hint=hint)
    format = format_of_backend(backend)
    runs = backends.find(backend).RUNS if backend in backends.KNOWN else (format.name if format else "",)
    if artifact.format not in runs:
        raise InputError(
            "backend-mismatch",
            f"backend {backend} does not run {artifact.path.name}",
            hint=f"leave --backend out, or use --backend {format_named(artifact.format).backend_here}",
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """File names; the whole path where two files have one name."""
    names = [path.name for path in paths]
    return [path.name if names.count(path.name) == 1 else str(path) for path in paths]
