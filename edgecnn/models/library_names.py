"""Names of the architectures of torchvision and timm, looked up in the catalog: a misspelt one is found out before
anything heavy is imported."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgecnn.core.errors import InputError, did_you_mean, install_hint

LIBRARIES = ("torchvision", "timm")
PATH = Path(__file__).with_name("catalog.json")


@cache
def read_catalog() -> dict[str, Any]:
    """The catalog as `models/catalog.py` wrote it; empty where there is none."""
    if not PATH.is_file():
        return {"versions": {}, "models": {}, "sketches": {}}
    content: dict[str, Any] = json.loads(PATH.read_text())
    return content


def has_timm() -> bool:
    return importlib.util.find_spec("timm") is not None


def is_known(library: str, name: str) -> bool | None:
    """Whether the library has an architecture of this name, a weights tag (`.a1_in1k`) aside; None where the catalog
    was made of another version, and only the library itself can say."""
    if library == "timm" and not has_timm():
        return False
    if f"{library}:{name.partition('.')[0]}" in read_catalog()["models"]:
        return True
    try:
        return False if read_catalog()["versions"].get(library) == version(library) else None
    except PackageNotFoundError:
        return False


def require_known(text: str) -> None:
    """Raises InputError `unknown-architecture` for what `--model` or `--arch` takes as the name of a library's
    architecture where no library has one. Says nothing of code, and of a library that is not installed."""
    first, colon, rest = text.strip().partition(":")
    if (colon and first not in LIBRARIES) or ".py" in text:
        return
    library, name = (first, rest) if colon else (None, first)
    if library == "timm" and not has_timm():
        return
    wanted = LIBRARIES if library is None else (library,)
    if all(is_known(which, name) is False for which in wanted):
        raise unknown_architecture(name, library)


def unknown_architecture(name: str, library: str | None) -> InputError:
    """The error for a name that no library has; `library` is the one that was named."""
    wanted = [which for which in LIBRARIES if library in (None, which) and (which != "timm" or has_timm())]
    split = (item.partition(":") for item in read_catalog()["models"])
    hint = did_you_mean(name, sorted({known for which, _, known in split if which in wanted}))
    if not hint.startswith("did you mean"):
        hint = "name one of torchvision.models or timm, or file.py:factory"
    why = ""
    if not has_timm() and library != "torchvision":
        why = f"timm is not installed; with it there are more: {install_hint('timm')}"
    return InputError("unknown-architecture", f"no architecture is called '{name}'", why=why, hint=hint)
