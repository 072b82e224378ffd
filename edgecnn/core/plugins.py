"""Plug-ins, found by entry point. Listing their names imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgecnn.core.errors import InputError, MissingError, did_you_mean
from edgecnn.core.third_party import first_line, printable

GROUPS = ("fallbacks", "formats", "reporters", "stages", "tasks", "trackers")


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plug-in of somebody else's distribution that cannot be imported, and why."""

    group: str
    name: str
    entry_point: str
    distribution: str
    cause: BaseException

    @property
    def why(self) -> str:
        return printable(f"{self.entry_point} of {self.distribution}: {first_line(self.cause)}")

    @property
    def command(self) -> str:
        """What to type to be rid of it."""
        return f"pip uninstall {self.distribution}"

    def error(self) -> MissingError:
        return MissingError(
            "broken-plugin",
            f"the {self.group.rstrip('s')} '{self.name}' is installed, but cannot be loaded",
            why=self.why,
            hint=f"update it, or remove it: {self.command}",
        )


@cache
def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"edgecnn.{group}")}


@cache
def _imported(point: EntryPoint) -> Any:
    """What an entry point names, or a `BrokenPlugin`. Our own raise: without them the package is not whole."""
    distribution = point.dist.name if point.dist else point.module
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        if distribution == "edgecnn":
            raise
        return BrokenPlugin(point.group.removeprefix("edgecnn."), point.name, point.value, distribution, error)


def names(group: str) -> list[str]:
    """Names registered under `edgecnn.<group>`, sorted; also of those that cannot be loaded."""
    return sorted(_registered(group))


def every(group: str) -> list[Any]:
    """All that is registered under `edgecnn.<group>`, imported now; in the order of `names`, without the broken."""
    imported = (_imported(_registered(group)[name]) for name in names(group))
    return [item for item in imported if not isinstance(item, BrokenPlugin)]


def broken(*groups: str) -> list[BrokenPlugin]:
    """The plug-ins of these groups that cannot be imported, which is tried now."""
    imported = (_imported(_registered(group)[name]) for group in groups for name in names(group))
    return [item for item in imported if isinstance(item, BrokenPlugin)]


def resolve(reference: str) -> Any:
    """What `package.module:name` names; its module is imported now."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def load(group: str, name: str) -> Any:
    """Import what is registered as `name`. Raises InputError with the nearest names when there is no such thing,
    MissingError broken-plugin when it cannot be imported."""
    if name not in _registered(group):
        raise InputError(
            f"unknown-{group.rstrip('s')}",
            f"no {group.rstrip('s')} is called '{name}'",
            hint=did_you_mean(name, names(group)),
        )
    item = _imported(_registered(group)[name])
    if isinstance(item, BrokenPlugin):
        raise item.error() from item.cause
    return item
