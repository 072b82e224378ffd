"""`--help` is quick, light, and says what it has said before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from edgecnn.cli import main

HEAVY = (
    *(
        "torch",
        "torchvision",
        "timm",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "onnxruntime",
        "numpy",
        "scipy",
        "sklearn",
        "PIL",
    ),
    *("pydantic", "yaml", "rich.table", "litert_torch", "ai_edge_litert", "ai_edge_quantizer", "tensorrt_rtx_bindings"),
)

LINE = 62
"""Columns that 80 leave beside the longest name of a command."""

LOOK = """
import sys, edgecnn.cli.main as main
try:
    main.run(sys.argv[1:])
except BaseException as error:
    assert type(error).__name__ == "Exit", error
print("MODULES", *sorted(sys.modules))
"""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, by the words that lead to it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(main.app)))


@pytest.mark.parametrize("words", [(), ("devices",), ("recipes", "check"), ("doctor",)], ids=" ".join)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    argv = [sys.executable, "-c", LOOK, *words, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("MODULES")[2].split())
    assert "edgecnn.cli.main" in loaded
    # Typer itself reads the words of a subcommand with pydantic since 0.29; the program's own help stays without.
    assert sorted(loaded & set(HEAVY) - ({"pydantic"} if words else set())) == []


def test_help_takes_little_time() -> None:
    """0.4 s of CPU is the promise; what is counted is this process's child."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "edgecnn", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.4


@pytest.mark.parametrize("words", list(ALL), ids=lambda words: " ".join(words) or "edgecnn")
def test_what_a_command_says_and_takes(words: tuple[str, ...], golden: Callable[[str, str], None]) -> None:
    golden(f"{'-'.join(words) or 'edgecnn'}.txt", facts(" ".join(("edgecnn", *words)), ALL[words]))


@pytest.mark.parametrize("words", list(ALL), ids=lambda words: " ".join(words) or "edgecnn")
def test_every_command_and_option_is_explained(words: tuple[str, ...]) -> None:
    command = ALL[words]
    assert command.help
    assert [param.name for param in command.params if not getattr(param, "help", None)] == []


@pytest.mark.parametrize("words", list(ALL), ids=lambda words: " ".join(words) or "edgecnn")
def test_its_line_in_the_list_of_commands_is_not_cut(words: tuple[str, ...]) -> None:
    assert not ALL[words].get_short_help_str(limit=LINE).endswith("...")


def facts(title: str, command: Any) -> str:
    """What `--help` tells, without Typer's layout, which changes from version to version."""
    command.get_help(typer.Context(command))  # the names of formats are looked up now
    lines = [title, "", *(command.help or "").strip().splitlines(), ""]
    lines += [
        f"  {name}: {inner.get_short_help_str(limit=LINE)}" for name, inner in getattr(command, "commands", {}).items()
    ]
    for param in command.params:
        words = " / ".join([*param.opts, *param.secondary_opts])
        word = (param.metavar or param.name) if param.param_type_name == "argument" else words
        default = param.default if not callable(param.default) and param.default not in (None, False, ()) else None
        lines.append(f"  {word}{'' if default is None else f' [{default}]'}: {getattr(param, 'help', '')}")
    return "\n".join(line.rstrip() for line in lines) + "\n"
