"""`edgecnn benchmark`: latency, load time and memory of model files, on this host or on boards, interleaved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command

if TYPE_CHECKING:
    from edgecnn.workflows.benchmark import Benchmark


def _page(benchmark: Benchmark, options: Mapping[str, Any]) -> Any:
    from edgecnn.report import text
    from edgecnn.report.benchmark.document import document

    if options["csv"]:
        return benchmark.to_csv()
    return text.render(document(benchmark.devices, benchmark.sizes)) if benchmark.latencies else None


@command("edgecnn.workflows.benchmark:benchmark", printer=_page, printed=("csv",))
def benchmark(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help=".onnx, .tflite or .pt2 files; the first is the reference.")
    ],
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Where: this host, or your boards; repeatable. Default: host."),
    ] = None,
    profile: Annotated[str, typer.Option(help="How much to measure: smoke, quick, standard or mlperf.")] = "quick",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the runtime; all usable cores unless given.")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N,...", help="Images per inference, such as 1 or 1,8; files with a free batch only.")
    ] = "1",
    shape: options.InputShape = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Also from 8-bit pixels to the class: normalise, infer, top-1.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option(help="Runtime; the device's first for the format unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of processes.")] = 0,
    json: options.PrintJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    save_samples: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all raw samples as JSON.")] = None,
) -> None:
    """Measure models in fresh processes, interleaved, and compare them with the first.

    Boards are measured side by side, each over your own ssh. Exit code 5 or 4 when something could not be measured;
    what could be is shown all the same.
    """
