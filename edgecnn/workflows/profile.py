"""Profile: where a model's time goes on a device, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.config.devices import load_device
from edgecnn.core.events import Listener, ignore
from edgecnn.core.store import make_folder, write_atomically
from edgecnn.measure import layer_profile
from edgecnn.measure.candidates import open_models, planner
from edgecnn.measure.connection import connect
from edgecnn.measure.layer_profile import LayerProfile
from edgecnn.measure.shapes import shapes_of
from edgecnn.report import archive, markdown
from edgecnn.report.profile import svg
from edgecnn.report.profile.document import document
from edgecnn.workflows.arguments import PathLike


def profile(
    model: PathLike,
    *,
    device: str = "host",
    threads: int | None = None,
    backend: str | None = None,
    runs: int = 30,
    shape: str | Sequence[str] | None = None,
    top: int = 10,
    out: PathLike | None = None,
    listener: Listener = ignore,
) -> LayerProfile:
    """Time each layer of an .onnx or .tflite file on a device, and say what limits it.

    `shape` says the sizes of an input that the file leaves free, such as "input:1x3x320x320".
    `runs` are those with the profiler, and as many without; `top` layers are named in the files that `out` gets.
    Raises InputError, MissingError or StepError.
    """
    target, shapes = load_device(device), shapes_of(shape)
    plan = planner(
        open_models([Path(model)]),
        backend=backend,
        threads=threads,
        batches=(1,),
        end_to_end=False,
        shapes=shapes,
        listener=listener,
    )
    with connect(target) as connection:
        candidates, failures = plan(target, connection)
        for failure in failures:
            raise failure.error
        candidate = candidates[0]
        measured = layer_profile.profile(
            candidate.artifact,
            device=connection.device,
            profile=target,
            backend=candidate.backend,
            threads=candidate.threads,
            runs=runs,
            options=candidate.options,
            listener=listener,
        )
    if out is not None:
        _write(Path(out), measured, top)
    return measured


def _write(folder: Path, measured: LayerProfile, top: int) -> None:
    make_folder(folder)
    write_atomically(folder / "profile.svg", svg.render(measured, top=top))
    write_atomically(folder / "profile.json", archive.dumps(measured.to_dict()))
    write_atomically(folder / "profile.md", markdown.render(document(measured, top=top)))
