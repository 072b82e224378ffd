"""The `edgecnn` command: one Typer app, one thin module per command."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from edgecnn import __version__
from edgecnn.cli import console, data, devices, failures, options, recipes

EPILOG = """\b
Exit codes:
  0  pass
  1  the verdict is FAIL
  2  wrong usage, input or recipe
  3  the verdict is INCONCLUSIVE
  4  a package, tool or device is missing
  5  a step failed
`optimize`: the verdict is that of what is bundled. With --format, and where
nothing but FP32 could be bundled, each candidate has to pass.
"""

app = typer.Typer(
    name="edgecnn",
    help="From a trained CNN checkpoint to an edge board, with proof.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMPLETE = "_EDGECNN_COMPLETE"
"""The variable by which a shell asks for completions."""

COMMANDS = {
    "optimize": "Take a checkpoint to verified INT8 files for a board.",
    "plan": "Show what `optimize` would do. Runs nothing.",
    "train": "Train a network on your images.",
    "inspect": "Say what a checkpoint or an exported model is.",
    "export": "Export a checkpoint, checked against PyTorch.",
    "quantize": "Quantize a checkpoint to INT8; judge nothing.",
    "prune": "Take channels away until a network costs less.",
    "distill": "Train a student network on a teacher's answers.",
    "evaluate": "Judge a model on labelled images: accuracy, each class.",
    "check": "Say whether a candidate may replace its baseline.",
    "benchmark": "Measure models on this host, interleaved.",
    "profile": "Time each layer of a model on a device.",
    "report": "Show the report of a finished run again.",
    "demo": "Take a small CNN to INT8 in two minutes. No download.",
    "doctor": "Show what works on this host, and what is missing.",
}
"""Each command and its line in `edgecnn --help`, in that order; `edgecnn.cli.NAME` has a function of its name."""

for _name, _line in COMMANDS.items():
    _command = getattr(import_module(f"edgecnn.cli.{_name}"), _name)
    app.command(short_help=_line, cls=options.CommandWithFormats)(_command)
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
    if COMPLETE in os.environ:  # the shell asks what could follow
        app(prog_name="edgecnn", complete_var=COMPLETE)
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
