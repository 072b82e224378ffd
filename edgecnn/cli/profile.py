"""`edgecnn profile`: where a model's time goes on a device, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgecnn.core.events import Listener
    from edgecnn.measure.layer_profile import LayerProfile


def profile(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx or .tflite file.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="This host, or one of your boards.")] = "host",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Runtime; the device's first for the format unless given.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs with the profiler, and as many without.")] = 30,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many layers are named.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write profile.md, profile.json and profile.svg there."),
    ] = None,
) -> None:
    """Time each layer of a model on a device, and say what it is about.

    Times come from the runtime's own profiler and are joined with multiply-accumulates, bytes moved and the device's
    roofline: what memory limits, what stayed in float, where types and layouts are converted.
    """
    from edgecnn.cli import console

    with console.listener() as listener:
        found = _measured(model, device=device, backend=backend, threads=threads, runs=runs, listener=listener)
    if out is not None:
        _write(out, found, top)
    if json:
        console.json(found)
    else:
        from edgecnn.report.profile import text

        console.result(text.render(found, top=top))
    if out is not None:
        console.note(f"wrote {', '.join(str(out / name) for name in ('profile.md', 'profile.json', 'profile.svg'))}")


def _measured(
    model: Path, *, device: str, backend: str | None, threads: int | None, runs: int, listener: Listener
) -> LayerProfile:
    from edgecnn.config.devices import load_device
    from edgecnn.measure.candidates import open_models, planner
    from edgecnn.measure.connection import connect
    from edgecnn.measure.layer_profile import profile as measure

    target = load_device(device)
    plan = planner(open_models([model]), backend=backend, threads=threads, batches=(1,), end_to_end=False)
    with connect(target) as connection:
        candidates, failures = plan(target, connection)
        for failure in failures:
            raise failure.error
        candidate = candidates[0]
        return measure(
            candidate.artifact,
            device=connection.device,
            profile=target,
            backend=candidate.backend,
            threads=candidate.threads,
            runs=runs,
            listener=listener,
        )


def _write(folder: Path, found: LayerProfile, top: int) -> None:
    from edgecnn.core.store import cannot_write, write_atomically
    from edgecnn.report.profile import json, markdown, svg

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_atomically(folder / "profile.svg", svg.render(found, top=top))
    write_atomically(folder / "profile.json", json.render(found))
    write_atomically(folder / "profile.md", markdown.render(found, top=top))
