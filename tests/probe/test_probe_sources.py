"""The probe runs where nothing else of ours does: Python 3.8, the standard library, numpy and one runtime."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import edgecnn.probe

SOURCES = sorted(Path(edgecnn.probe.__path__[0]).rglob("*.py"))
RUNTIMES = {"onnxruntime", "torch"}
NEWER_THAN_3_8 = {"removeprefix", "removesuffix", "is_relative_to", "bit_count", "batched", "pairwise"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_syntax_is_that_of_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Attribute) and node.attr in NEWER_THAN_3_8), ast.dump(node)
        assert not (isinstance(node, ast.keyword) and node.arg in ("strict", "kw_only", "slots")), ast.dump(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_annotations_are_never_evaluated(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree)):
        assert "annotations" in {
            alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_only_the_standard_library_numpy_and_runtimes_are_imported(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"numpy"}
    tree = ast.parse(path.read_text())
    top_level = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {(node.module or "").split(".")[0]}
        else:
            continue
        assert roots <= (allowed if id(node) in top_level else allowed | RUNTIMES), path
