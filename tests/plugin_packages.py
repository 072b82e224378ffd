"""Packages of somebody else's with plug-ins of edgecnn, installed as pip would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecnn.core import plugins
from edgecnn.formats.registry import known_formats


def write_metadata(site: Path, distribution: str, points: Mapping[str, Mapping[str, str]]) -> None:
    """What pip writes of a distribution: `points` are its entry points, by group of edgecnn and name."""
    about = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = []
    for group, named in points.items():
        lines += [f"[edgecnn.{group}]", *(f"{name} = {value}" for name, value in named.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(
    site: Path, distribution: str, points: Mapping[str, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A distribution in `site`, found in this process until the test ends."""
    write_metadata(site, distribution, points)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        _forget()
        yield
    _forget()


def _forget() -> None:
    for cached in (plugins._registered, plugins._imported, known_formats):
        cached.cache_clear()
