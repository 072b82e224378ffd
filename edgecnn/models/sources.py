"""Source files of a network, for the digest that names it: equal weights compute different things in other code."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from torch import nn

from edgecnn.core.artifact import sha256_of
from edgecnn.models.library_names import LIBRARIES
from edgecnn.models.reference import BY_PATH

_TOLD_BY_VERSION = ("torch", *LIBRARIES)


def source_files(network: nn.Module, *named: str) -> tuple[tuple[str, str], ...]:
    """(module, sha256) of the files behind the modules `named` and the network's classes, and of what those import.

    Sorted; a file loaded by its path goes by its file name. Imports are followed within a package, and into others
    that are not installed but lie in somebody's folder; torch, torchvision and timm are told by their versions.
    """
    waiting = [name for name in (*named, *_modules_of(network)) if _path_of(name) and not _is_standard(name)]
    found: dict[str, tuple[str, str]] = {}
    while waiting:
        name = waiting.pop()
        path = _path_of(name)
        if path is not None and name not in found:
            found[name] = (path.name if name.startswith(BY_PATH) else name, sha256_of(path))
            waiting += [item for item in _imported(sys.modules[name], path) if _is_followed(item, importer=name)]
    return tuple(sorted(found.values()))


def compiled_forwards(network: nn.Module) -> list[bytes]:
    """The byte code of `forward` of classes that no file holds, such as those of a notebook."""
    kinds = {type(part) for part in network.modules()}
    typed = sorted((kind for kind in kinds if _path_of(kind.__module__) is None), key=lambda kind: kind.__qualname__)
    return [kind.forward.__code__.co_code for kind in typed if hasattr(kind.forward, "__code__")]


def library_versions(network: nn.Module) -> tuple[str, ...]:
    """`torchvision 0.24.0`: name and version of each registered library whose classes are in the network."""
    roots = {_root(name) for name in _modules_of(network)}
    return tuple(f"{name} {version(name)}" for name in LIBRARIES if name in roots)


def _modules_of(network: nn.Module) -> set[str]:
    return {kind.__module__ for part in network.modules() for kind in type(part).__mro__}


def _root(name: str) -> str:
    return name.partition(".")[0]


def _path_of(name: str) -> Path | None:
    """The file of an imported module; None for built-in ones and for the libraries told by version."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and _root(name) not in _TOLD_BY_VERSION and Path(file).is_file() else None


def _is_standard(name: str) -> bool:
    return _root(name) in sys.stdlib_module_names


def _is_followed(name: str, *, importer: str) -> bool:
    path = _path_of(name)
    if path is None or _is_standard(name):
        return False
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed or _root(name) == _root(importer)


def _imported(module: ModuleType, path: Path) -> Iterator[str]:
    """Names of modules that the file may import, wherever in it; some are no modules but what lies in one."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with contextlib.suppress(ImportError):  # `from .` where there is no package: it did not work there either
                base = resolve_name("." * node.level + (node.module or ""), module.__package__ or "")
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
