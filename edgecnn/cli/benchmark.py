"""`edgecnn benchmark`: latency, load time and memory of model files on this host, interleaved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgecnn.core.errors import EdgecnnError
    from edgecnn.measure.latency import Arm, Latency, Ratio


def benchmark(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help=".onnx or .tflite files; the first is the reference.")
    ],
    profile: Annotated[str, typer.Option(help="How much to measure: smoke, quick or standard.")] = "quick",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Runtime: null, onnxruntime or tflite; chosen by suffix unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of processes.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    save_samples: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all raw samples as JSON.")] = None,
) -> None:
    """Measure models on this host, each in fresh processes, interleaved, and compare them with the first."""
    from edgecnn.cli import console
    from edgecnn.measure.latency import measure
    from edgecnn.measure.profiles import profile_named

    chosen = profile_named(profile)
    arms = _arms(models, backend, threads)
    failures: list[tuple[Arm, EdgecnnError]] = []
    with console.listener() as tell:
        results = measure(
            arms, profile=chosen, seed=seed, tell=tell, on_failure=lambda *failure: failures.append(failure)
        )
    if save_samples is not None:
        _save(save_samples, results)
    sizes = {arm.name: arm.artifact.size_bytes for arm in arms}
    ratios = _ratios(arms[0].name, results)
    if json:
        failed = [{"name": arm.name, **error.to_dict()} for arm, error in failures]
        rows = [{**r.summary(), "size_bytes": sizes[r.name], "versus_first": ratios.get(r.name)} for r in results]
        console.json({"schema": "edgecnn.benchmark/1", "models": rows, "failed": failed})
    elif results:
        console.result(_table(results, sizes, ratios))
        for line in _conclusions(arms[0].name, ratios) + _remarks(results):
            console.result(line)
    for _arm, error in failures[:-1]:
        console.failure(error)
    if failures:
        raise failures[-1][1]


def _arms(models: list[Path], backend: str | None, threads: int | None) -> list[Arm]:
    from edgecnn.core.errors import InputError, did_you_mean
    from edgecnn.measure.artifact import BACKENDS, open_artifact
    from edgecnn.measure.latency import Arm
    from edgecnn.probe import backends, facts

    real = [path.resolve() for path in models]
    twice = [path for path, where in zip(models, real, strict=True) if real.count(where) > 1]
    if twice:
        raise InputError("duplicate-model", f"{twice[0]} is given twice", hint="name each model once")
    if backend is not None and backend not in backends.KNOWN:
        raise InputError(
            "unknown-backend", f"no backend is called '{backend}'", hint=did_you_mean(backend, list(backends.KNOWN))
        )
    names = [path.name if [p.name for p in models].count(path.name) == 1 else str(path) for path in models]
    arms = []
    for name, path in zip(names, models, strict=True):
        artifact = open_artifact(path)
        runtime = backend or BACKENDS[artifact.format]
        if artifact.format not in backends.find(runtime).RUNS:
            raise InputError(
                "backend-mismatch",
                f"backend {runtime} does not run {path.name}",
                hint=f"leave --backend out, or use --backend {BACKENDS[artifact.format]}",
            )
        arms.append(Arm(name, artifact, runtime, threads or facts.usable_cores()))
    return arms


def _ratios(first: str, results: list[Latency]) -> dict[str, Ratio]:
    from edgecnn.measure.latency import compare

    reference = next((result for result in results if result.name == first), None)
    if reference is None:
        return {}
    return {result.name: compare(result, reference) for result in results if result is not reference}


def _save(path: Path, results: list[Latency]) -> None:
    import json

    from edgecnn.core.store import cannot_write, write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    archive = {"schema": "edgecnn.samples/1", "models": [result.to_dict() for result in results]}
    write_atomically(path, json.dumps(archive, allow_nan=False))


def _table(results: list[Latency], sizes: dict[str, int], ratios: dict[str, Ratio]) -> Any:
    from rich import box
    from rich.table import Table

    interval = "95 % interval" if results[0].interval == "ci95" else "range"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_caption(results[0]), caption_justify="left")
    table.add_column("model", overflow="fold")
    for title in ("median ms", interval, "p90 ms", "p90 bound", "load ms", "first ms", "memory MB", "size MB", "speed"):
        table.add_column(title, justify="right")
    for result in results:
        memory = result.peak_rss_delta_bytes
        table.add_row(
            result.name,
            _ms(result.median_ns),
            f"{_ms(result.median_low_ns)} to {_ms(result.median_high_ns)}",
            _ms(result.p90_ns),
            "n too small" if result.p90_bound_ns is None else _ms(result.p90_bound_ns),
            _ms(result.load_ns),
            _ms(result.first_ns),
            "?" if memory is None else f"{memory / 1e6:.1f}",
            f"{sizes[result.name] / 1e6:.2f}" if sizes[result.name] >= 5000 else "< 0.01",
            f"{ratios[result.name].speedup:.2f}x" if result.name in ratios else "-",
        )
    return table


def _caption(result: Latency) -> str:
    facts = result.processes[0].facts
    threads = f"{result.threads} thread{'s' if result.threads > 1 else ''}"
    processes = f"{len(result.processes)} process{'es' if len(result.processes) > 1 else ''} each"
    return (
        f"{facts['cpu'] or facts['machine']}, {threads}, profile {result.profile}, "
        f"{processes}, batch 1; memory is the peak above the imported runtime"
    )


def _conclusions(first: str, ratios: dict[str, Ratio]) -> list[str]:
    return [
        f"{name} against {first}: {ratio.conclusion}, {ratio.speedup:.2f}x the speed "
        f"({'95 % interval' if ratio.interval == 'ci95' else 'range'} {ratio.low:.2f} to {ratio.high:.2f})"
        for name, ratio in ratios.items()
    ]


def _ms(time_ns: float) -> str:
    """Three significant digits, in milliseconds."""
    time_ms = time_ns / 1e6
    return f"{time_ms:.1f}" if time_ms >= 100 else f"{time_ms:.2f}" if time_ms >= 10 else f"{time_ms:.3f}"


def _remarks(results: list[Latency]) -> list[str]:
    """One line for each finding, with the models it is about."""
    about: dict[str, list[str]] = {}
    for result in results:
        for reason in result.reasons:
            about.setdefault(f"{reason.effect}: {reason.message}", []).append(result.name)
    everyone = len(results)
    return [line if len(names) == everyone else f"{line} [{', '.join(names)}]" for line, names in about.items()]
