"""The layout of the package: one room for everything, short files, layers as documented, entry points that load."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgecnn"
LONGEST_FILE = 350
ROOMS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
OWN_TEST_ROOMS = {"house", "board", "api"}
"""What is tested across rooms: the layout itself, an emulated board, the functions of `edgecnn/__init__.py`."""
VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "base", "tools"}


def _sources(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def _entry_points() -> list[EntryPoint]:
    groups = entry_points()
    return [
        point
        for group in sorted(groups.groups)
        for point in groups.select(group=group)
        if point.value.startswith("edgecnn.")
    ]


@pytest.mark.parametrize("folder", ["edgecnn", "tests"])
def test_files_are_short(folder: str) -> None:
    long = {}
    for path in _sources(ROOT / folder):
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > LONGEST_FILE:
            long[str(path.relative_to(ROOT))] = count
    assert not long, f"over {LONGEST_FILE} lines: split them by what they are about"


def test_no_module_lies_loose_at_the_top() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_module_names_say_what_is_in_them() -> None:
    vague = [str(path.relative_to(ROOT)) for path in _sources(PACKAGE) if {path.stem, *path.parent.parts[-1:]} & VAGUE]
    assert not vague


def test_every_module_says_what_it_holds() -> None:
    silent = [path for path in _sources(PACKAGE) if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders - OWN_TEST_ROOMS <= ROOMS
    assert not [path.name for path in (ROOT / "tests").glob("test_*.py")], "tests lie in the room they test"


def test_the_documented_layers_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [one for one in project["tool"]["importlinter"]["contracts"] if one["id"] == "layers"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## Layers$.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block.splitlines() == contract["layers"]


def test_every_room_has_a_layer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [one for one in project["tool"]["importlinter"]["contracts"] if one["id"] == "layers"]
    assert {room.strip() for layer in contract["layers"] for room in layer.split("|")} == ROOMS


def test_there_are_entry_points() -> None:
    assert {"console_scripts", "edgecnn.stages"} <= {point.group for point in _entry_points()}


@pytest.mark.parametrize("point", _entry_points(), ids=lambda point: f"{point.group}:{point.name}")
def test_every_entry_point_loads(point: EntryPoint) -> None:
    assert callable(point.load()) or point.group not in ("console_scripts", "edgecnn.stages")
