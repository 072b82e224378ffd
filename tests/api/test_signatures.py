"""The functions of `edgecnn` take what the commands take, and commands do nothing but call them."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import edgecnn
from edgecnn.cli import main
from edgecnn.core.plugins import resolve
from edgecnn.workflows.arguments import PreprocessingArguments

CLI = Path(main.__file__).parent
MACHINERY = ("__init__", "command", "console", "failures", "github", "main", "options", "progress", "python")
"""Modules of the command line that are no commands."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    for name, one in inner.items():
        yield from commands(one, (*path, name))
    if not inner:
        yield " ".join(path), command


COMMANDS = dict(commands(typer.main.get_command(main.app)))
DECLARED = {name: module for module in sorted(CLI.glob("*.py")) for name in [module.stem] if name not in MACHINERY}


def run_of(command: Any) -> Any:
    """What a command calls: the function that `edgecnn.cli.command` made."""
    return inspect.unwrap(command.callback)


def arguments_of(workflow: Any) -> dict[str, Any]:
    """The arguments of a workflow by name, with their defaults; the group of preprocessing one by one."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(workflow).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= dict.fromkeys(PreprocessingArguments.__annotations__)
        elif name != "listener":
            found[name] = parameter.default
    return found


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_workflow_takes_what_its_command_takes(name: str) -> None:
    run = run_of(COMMANDS[name])
    options = {
        parameter.name: parameter.default
        for parameter in inspect.signature(run).parameters.values()
        if parameter.name not in run.printed
    }
    assert options == arguments_of(resolve(run.workflow))


def test_every_function_of_the_package_is_a_command() -> None:
    called = {run_of(command).workflow for command in COMMANDS.values()}
    for name in set(edgecnn.__all__) - {"EdgecnnError", "devices", "recipes"}:
        function = inspect.unwrap(
            getattr(edgecnn, name) if name not in ("train", "quantize") else edgecnn.__getattr__(name)
        )
        assert f"{function.__module__}:{function.__name__}" in called, name
    for group in ("devices", "recipes"):
        module = getattr(edgecnn, group)
        assert {f"{module.__name__}:{name}" for name in module.__all__ if name[0].islower()} <= called


@pytest.mark.parametrize("module", list(DECLARED.values()), ids=lambda path: path.stem)
def test_a_command_declares_options_and_prints(module: Path) -> None:
    """A function with `@command` has a docstring and no other line; printers import reports, console and plug-ins, and
    no room that works."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    declared = 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(item, ast.Call) and getattr(item.func, "id", "") == "command" for item in node.decorator_list
        ):
            declared += 1
            assert len(node.body) == 1 and ast.get_docstring(node), f"{module.name}: {node.name} does something itself"
    assert declared, f"{module.name} declares no command"
    typing_only = {inner for node in ast.walk(tree) if isinstance(node, ast.If) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only and (node.module or "").startswith("edgecnn"):
            room = (node.module or "").split(".")[1] if "." in (node.module or "") else node.names[0].name
            assert room in ("cli", "core", "report", *PRINTERS_READ.get(module.stem, ())), (
                f"{module.name}: {node.module}"
            )


PRINTERS_READ = {"devices": ("measure",), "plan": ("data", "train"), "recipes": ("config",)}
"""What printers read beside reports: a board's untrusted facts, the words for preprocessing, usual settings, the name
of the default recipe."""

LIGHT = """
import sys, time
began = time.process_time()
import edgecnn
took = time.process_time() - began
heavy = {"torch", "numpy", "pydantic", "onnx", "yaml", "rich", "typer"} & set(sys.modules)
print(took < 0.1, sorted(heavy), edgecnn.__version__)
"""


def test_the_package_is_imported_in_no_time() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"True [] {edgecnn.__version__}"


@pytest.mark.parametrize("name", ["train", "quantize"])
def test_a_room_of_a_functions_name_is_called_like_it(name: str) -> None:
    """Whether the room was imported before or not, and `import edgecnn.train.settings` still finds the room."""
    script = f"import edgecnn, inspect; before = inspect.signature(edgecnn.{name})\n"
    script += f"import edgecnn.{name} as room; assert inspect.ismodule(room)\n"
    script += f"assert edgecnn.{name} is room and callable(room) and inspect.signature(room) == before\n"
    script += (
        f"try:\n    edgecnn.{name}()\nexcept TypeError as error:\n    assert 'required positional' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'optimise'"):
        edgecnn.optimise  # noqa: B018
