"""One class name, one meaning: public classes and type aliases have different names in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = {"Session"}
"""Names that every backend of the probe gives its classes."""
TO_RENAME: set[str] = set()
"""Names that still stand for several things."""


def _names(tree: ast.Module) -> Iterator[str]:
    """Public classes and type aliases at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(
            node.value, ast.Subscript | ast.BinOp | ast.Name | ast.Attribute
        ):
            name = ast.unparse(node.targets[0])
            if name[:1].isupper() and not name.isupper():
                yield name
        elif isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation):
            yield ast.unparse(node.target)


def _places() -> dict[str, list[str]]:
    places = defaultdict(list)
    for path in sorted((ROOT / "edgecnn").rglob("*.py")):
        for name in _names(ast.parse(path.read_text(encoding="utf-8"))):
            in_protocol = name in PROTOCOL and path.parent.name == "backends"
            if not name.startswith("_") and not in_protocol:
                places[name].append(str(path.relative_to(ROOT)))
    return places


def test_a_public_name_stands_for_one_thing() -> None:
    twice = {name: where for name, where in _places().items() if len(where) > 1 and name not in TO_RENAME}
    assert not twice
