"""The `edgecnn` command: one Typer app, one thin module per command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgecnn import __version__
from edgecnn.cli import (
    benchmark,
    console,
    data,
    demo,
    devices,
    distill,
    doctor,
    evaluate,
    export,
    failures,
    inspect,
    optimize,
    options,
    plan,
    profile,
    prune,
    quantize,
    recipes,
    report,
    train,
)

EPILOG = """\b
Exit codes:
  0  pass
  1  the verdict is FAIL
  2  wrong usage, input or recipe
  3  the verdict is INCONCLUSIVE
  4  a package, tool or device is missing
  5  a step failed
"""

app = typer.Typer(
    name="edgecnn",
    help="From a trained CNN checkpoint to an edge board, with proof.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The order is that of `edgecnn --help`; the short help is a command's line there.
app.command(short_help="Take a checkpoint to verified INT8 files for a board.", cls=options.FormatCommand)(
    optimize.optimize
)
app.command(short_help="Show what `optimize` would do. Runs nothing.", cls=options.FormatCommand)(plan.plan)
app.command(short_help="Train a network on your images.")(train.train)
app.command(short_help="Say what a checkpoint or an exported model is.")(inspect.inspect)
app.command(short_help="Export a checkpoint, checked against PyTorch.", cls=options.FormatCommand)(export.export)
app.command(short_help="Quantize a checkpoint to INT8; judge nothing.", cls=options.FormatCommand)(quantize.quantize)
app.command(short_help="Take channels away until a network costs less.")(prune.prune)
app.command(short_help="Train a student network on a teacher's answers.")(distill.distill)
app.command(short_help="Judge a model on labelled images: accuracy, each class.")(evaluate.evaluate)
app.command(short_help="Measure models on this host, interleaved.")(benchmark.benchmark)
app.command(short_help="Time each layer of a model on a device.")(profile.profile)
app.command(short_help="Show the report of a finished run again.")(report.report)
app.command(short_help="Take a small CNN to INT8 in two minutes. No download.")(demo.demo)
app.command(short_help="Show what works on this host, and what is missing.")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(devices.app, name="devices")
app.add_typer(recipes.app, name="recipes")


def _version(asked: bool) -> None:
    if asked:
        console.result(f"edgecnn {__version__}")
        raise typer.Exit


@app.callback()
def _settings(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each step as it starts, and tracebacks.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other")
    console.configure(quiet=quiet, verbose=verbose)


def main() -> None:
    """Entry point: runs the command line and leaves with the exit code its outcome has."""
    argv = sys.argv[1:]
    failures.heed_sigterm()
    sys.exit(failures.guard(lambda: run(argv), argv))


def run(argv: list[str]) -> None:
    """Parse and invoke; every exception is left to `failures.guard`, Typer's own included."""
    command = typer.main.get_command(app)
    with command.make_context("edgecnn", _settings_first(argv)) as context:
        command.invoke(context)


def _settings_first(argv: list[str]) -> list[str]:
    """`--quiet` and `--verbose` may also follow the command: they are the program's, wherever they stand."""
    end = argv.index("--") if "--" in argv else len(argv)
    moved = [word for word in argv[:end] if word in ("--quiet", "-q", "--verbose", "-v")]
    return moved + [word for word in argv[:end] if word not in moved] + argv[end:]
