"""The commands that the documents show: all are accepted as they are printed, and what needs no board is run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer
from workbench import TINY, Workbench

from edgecnn.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

if TYPE_CHECKING:
    from workbench import Ended

Invoke = Callable[..., "Ended"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SHELL = ("bash", "console", "sh")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
MENTIONED = re.compile(r"`(edgecnn(?: [^`]*)?)`")
NEEDS_A_BOARD = ("--device", "check lab-pi")
SHORTER = {
    "optimize": ("--profile", "smoke", "--format", "onnx"),
    "train": ("--epochs", "1", "--batch", "8", "--workers", "0"),
    "distill": ("--epochs", "1", "--batch", "8"),
    "benchmark": ("--profile", "smoke"),
    "profile": ("--runs", "3"),
}
"""What is added so that a command of the documents ends in seconds."""


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a document: language and text."""
    yield from BLOCK.findall(document.read_text(encoding="utf-8"))


def shown(document: Path) -> list[list[str]]:
    """The commands that a document tells its reader to type, as words."""
    lines = [
        line.removeprefix("$ ")
        for language, text in blocks(document)
        if language in SHELL
        for line in text.splitlines()
        if language != "console" or line.startswith("$ ")
    ]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


ALL = [(document, words) for document in DOCUMENTS for words in shown(document)]
COMMANDS = [(document, words) for document, words in ALL if words[0] == "edgecnn"]


def named(value: Any) -> str:
    return value.name if isinstance(value, Path) else " ".join(value)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words`, without `edgecnn`, lead to, and the words that are left for it."""
    command, left = typer.main.get_command(main.app), list(words)
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left.pop(0)]
    return command, left


def accept(words: list[str]) -> None:
    """Let the command line read `words` without doing anything. Raises Typer's UsageError."""
    command, left = command_of(words)
    if hasattr(command, "commands"):
        raise typer.BadParameter(f"no such command: {left}")
    command.make_context(command.name, left)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_blocks_of_commands_say_that_they_are(document: Path) -> None:
    """Or they would be tested by nobody."""
    typed = re.compile(r"^(\$ |(edgecnn|make|pip|python) )", re.M)
    assert [text for language, text in blocks(document) if language not in SHELL and typed.search(text)] == []


def test_the_documents_show_commands() -> None:
    assert {words[1] for _, words in COMMANDS} == {*main.COMMANDS, "data", "devices", "recipes"} - {"demo"}


@pytest.mark.parametrize(("document", "words"), COMMANDS, ids=named)
def test_a_command_is_accepted_as_it_is_printed(document: Path, words: list[str]) -> None:
    accept(words[1:])


@pytest.mark.parametrize(
    "text",
    ["prune model.pth --marcs 50%", "distill model.pth --teacher big.pth", "devices lst", "inspect a.onnx what it is"],
)
def test_what_is_wrong_is_not_accepted(text: str) -> None:
    with pytest.raises(typer.BadParameter.__mro__[1]):
        accept(text.split())


@pytest.mark.parametrize(("document", "words"), [item for item in ALL if item[1][0] != "edgecnn"], ids=named)
def test_other_programs_are_ours_to_promise(document: Path, words: list[str]) -> None:
    """Targets of the Makefile, extras of the package, scripts that are there."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        asked = re.findall(r"\[(.*)\]", " ".join(words))
        assert asked and set(asked[0].split(",")) <= set(extras)
    else:
        assert Path(words[0]).parts[:2] == (".venv", "bin")
        assert all((ROOT / word).is_file() for word in words[1:] if word.endswith(".py"))


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name != "errors.md"], ids=named)
def test_a_command_that_a_sentence_mentions_exists(document: Path) -> None:
    """Sentences leave arguments out; what they name has to be there."""
    for text in MENTIONED.findall(document.read_text(encoding="utf-8")):
        command, left = command_of(text.split()[1:])
        known = {"--help", *(option for param in command.params for option in param.opts)}
        assert {word.partition("=")[0] for word in left if word.startswith("--")} <= known, text
        assert not hasattr(command, "commands") or not left or left[0].startswith("-"), text


@pytest.fixture
def folder(bench: Workbench, tmp_path: Path, config_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type in: images, and a checkpoint of a torchvision network that takes 32x32."""
    from torchvision.models import resnet18

    monkeypatch.chdir(tmp_path)
    shutil.copytree(bench.data, tmp_path / "photos")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = resnet18(num_classes=4)
    facts = {"arch": "resnet18", "input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    for name in ("model.pth", "resnet18.pth"):
        torch.save({"state_dict": network.state_dict(), **facts}, tmp_path / name)
    return tmp_path


def run_all(document: Path, invoke: Invoke) -> int:
    """Type what a document shows, in its order; how many commands that were."""
    count = 0
    for words in shown(document):
        if words[0] != "edgecnn" or any(reason in " ".join(words) for reason in NEEDS_A_BOARD):
            continue
        ended = invoke(*words[1:], *SHORTER.get(words[1], ()))
        verdicts = (0, 1, 3) if words[1] in ("optimize", "check", "report") else (0, 1) if words[1] == "data" else (0,)
        assert ended.code in verdicts, (words, ended.err)
        assert "error[" not in ended.err, (words, ended.err)
        count += 1
    return count


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")
def test_the_readme_runs_from_top_to_bottom(folder: Path, invoke: Invoke) -> None:
    assert run_all(ROOT / "README.md", invoke) > 12
    made = {path.name for path in folder.iterdir()}
    assert {"model.pruned.safetensors", "model.pruned.distilled.safetensors", "model.int8.onnx"} <= made


def test_the_page_on_measuring_runs(
    folder: Path, onnx_net: Callable[[], Path], tflite_net: Callable[[], Path], invoke: Invoke, config_home: Path
) -> None:
    """Its commands without a board, on models in the place of those it names."""
    for name, net in (
        ("digits.fp32.onnx", onnx_net),
        ("digits.int8.onnx", onnx_net),
        ("digits.int8.tflite", tflite_net),
    ):
        shutil.copy(net(), folder / name)
    (folder / "tiny.py").write_text(TINY)
    assert run_all(ROOT / "docs" / "measuring.md", invoke) == 3
    assert (config_home / "devices" / "lab-pi.yaml").is_file()
