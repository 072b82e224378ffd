"""`edgecnn benchmark`: latency, load time and memory of model files, on this host or on boards, interleaved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgecnn.core.artifact import Artifact
    from edgecnn.core.device import DeviceProfile
    from edgecnn.measure.fleet import DeviceResult, Failure


def benchmark(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help=".onnx, .tflite or .pt2 files; the first is the reference.")
    ],
    device: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="NAME", help="Where: this host, or your boards; repeatable. Default: host."),
    ] = None,
    profile: Annotated[str, typer.Option(help="How much to measure: smoke, quick, standard or mlperf.")] = "quick",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N,...", help="Images per inference, such as 1 or 1,8; files with a free batch only.")
    ] = "1",
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Also from 8-bit pixels to the class: normalise, infer, top-1.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option(help="Runtime; the device's first for the format unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of processes.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    save_samples: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all raw samples as JSON.")] = None,
) -> None:
    """Measure models in fresh processes, interleaved, and compare them with the first.

    Boards are measured side by side, each over your own ssh. Exit code 5 or 4 when something could not be measured;
    what could be is shown all the same.
    """
    from edgecnn.cli import console
    from edgecnn.config.devices import load_device
    from edgecnn.measure.candidates import batches_of, open_models, planner
    from edgecnn.measure.effort import profile_named
    from edgecnn.measure.fleet import measure_fleet

    if json and csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    chosen = profile_named(profile)
    devices = _distinct([load_device(name) for name in device or ["host"]])
    artifacts = open_models(models)
    plan = planner(artifacts, backend=backend, threads=threads, batches=batches_of(batch), end_to_end=end_to_end)
    with console.listener() as listener:
        taken = measure_fleet(devices, plan, profile=chosen, seed=seed, listener=listener)
    if save_samples is not None:
        _save(save_samples, taken)
    _show(taken, artifacts, form="json" if json else "csv" if csv else "text")
    _fail([failure for one in taken for failure in one.failures], told=json)


def _distinct(devices: list[DeviceProfile]) -> list[DeviceProfile]:
    from edgecnn.core.errors import InputError

    names = [device.name for device in devices]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("duplicate-device", f"{twice} is given twice", hint="name each device once")
    return devices


def _show(taken: list[DeviceResult], artifacts: list[Artifact], *, form: str) -> None:
    from edgecnn.cli import console
    from edgecnn.report import benchmark as report
    from edgecnn.report.benchmark import table, text

    sizes = {artifact.sha256: artifact.size_bytes for artifact in artifacts}
    if form == "json":
        console.json(report.to_dict(taken, sizes))
    elif form == "csv":
        console.result(table.render(taken, sizes))
    elif any(one.latencies for one in taken):
        console.result(text.render(taken, sizes))


def _fail(failures: list[Failure], *, told: bool) -> None:
    """Show every failure; the last one decides the exit code. `told`: the JSON that was printed names them already."""
    from edgecnn.cli import console

    for failure in failures if told else failures[:-1]:
        console.failure(failure.error)
    if failures and told:
        raise typer.Exit(failures[-1].error.exit_code)
    if failures:
        raise failures[-1].error


def _save(path: Path, taken: list[DeviceResult]) -> None:
    import json

    from edgecnn.core.store import cannot_write, write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    models = [{**latency.to_dict(), "device": one.profile.name} for one in taken for latency in one.latencies]
    write_atomically(path, json.dumps({"schema": "edgecnn.samples/1", "models": models}, allow_nan=False))
