"""Plug-ins, found by entry point. Listing their names imports nothing."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgecnn.core.errors import InputError, did_you_mean


@cache
def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"edgecnn.{group}")}


def names(group: str) -> list[str]:
    """Names registered under `edgecnn.<group>`, sorted."""
    return sorted(_registered(group))


def every(group: str) -> list[Any]:
    """All that is registered under `edgecnn.<group>`, imported now; in the order of `names`."""
    return [_registered(group)[name].load() for name in names(group)]


def resolve(reference: str) -> Any:
    """What `package.module:name` names; its module is imported now."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def load(group: str, name: str) -> Any:
    """Import what is registered as `name`. Raises InputError with the nearest names when there is no such thing."""
    found = _registered(group).get(name)
    if found is None:
        raise InputError(
            f"unknown-{group.rstrip('s')}",
            f"no {group.rstrip('s')} is called '{name}'",
            hint=did_you_mean(name, names(group)),
        )
    return found.load()
