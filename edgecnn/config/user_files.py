"""Recipe and device files: those bundled with the package, and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.paths import at_home, user_folder

PACKAGE = Path(__file__).resolve().parents[1]


def folders(kind: str) -> list[Path]:
    """Where YAML files of a kind (`recipes`, `devices`) lie: the user's folder first, then the bundled ones.

    A wheel carries them in `edgecnn/bundled`; a source checkout has them beside the package.
    """
    bundled = PACKAGE / "bundled" / kind
    return [user_folder() / kind, bundled if bundled.is_dir() else PACKAGE.parent / kind]


def files(kind: str) -> dict[str, Path]:
    """Every file of a kind by its name without `.yaml`, sorted. The user's file replaces a bundled one."""
    by_name: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            by_name.setdefault(path.stem, path)
    return dict(sorted(by_name.items()))


def is_path(name_or_path: str) -> bool:
    """Whether a person means a file: it ends in .yaml or .yml, or holds a slash."""
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path or os.sep in name_or_path


def find(kind: str, name_or_path: str) -> Path:
    """The file of that name or at that path. Raises InputError with the nearest names."""
    if is_path(name_or_path):
        return at_home(name_or_path)
    known = files(kind)
    if name_or_path in known:
        return known[name_or_path]
    one = kind.removesuffix("s")
    raise InputError(
        f"unknown-{one}",
        f"no {one} is called '{name_or_path}'",
        hint=f"{did_you_mean(name_or_path, list(known))}\nedgecnn {kind} list",
    )
