"""Documents name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`((?:[a-z]+/)[\w./-]*?(?:\.py|\.md|\.yaml|/))`")
ROOMS = {path.name for path in (ROOT / "edgecnn").iterdir() if (path / "__init__.py").is_file()}
FOLDERS = {"edgecnn", "tests", "docs", "devices", "recipes", "benchmarks"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_files_that_a_document_names_are_there(document: Path) -> None:
    missing = []
    for name in NAMED.findall(document.read_text(encoding="utf-8")):
        top = name.partition("/")[0]
        places = [ROOT / "edgecnn" / name] if top in ROOMS else [ROOT / name] if top in FOLDERS else []
        missing += [name for place in places if not place.exists()]
    assert not missing


def test_the_tree_of_the_architecture_names_every_room() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == ROOMS
