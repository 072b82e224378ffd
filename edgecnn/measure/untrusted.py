"""Reading what a board said of itself: every value is checked where it is used, for it may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecnn.core.third_party import printable

LONGEST = 300
"""Characters of a text, and entries of a list or mapping, that are looked at."""


LARGEST = 1e18


class Untrusted:
    """A JSON object from a board. A value that is absent or of another type is None, or empty."""

    def __init__(self, raw: object) -> None:
        self._raw: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}

    def text(self, key: str) -> str | None:
        value = self._raw.get(key)
        return " ".join(printable(value[:LONGEST]).split()) or None if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        value = self._raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
            return None
        return float(value)

    def flag(self, key: str) -> bool | None:
        value = self._raw.get(key)
        return value if isinstance(value, bool) else None

    def texts(self, key: str) -> list[str]:
        value = self._raw.get(key)
        if not isinstance(value, list):
            return []
        return [printable(item[:LONGEST]) for item in value[:LONGEST] if isinstance(item, str)]

    def inner(self, key: str) -> Untrusted:
        return Untrusted(self._raw.get(key))

    def has(self, key: str) -> bool:
        """Whether it said anything at all about it."""
        return self._raw.get(key) is not None

    def numbers(self) -> dict[str, float]:
        """Those of its values that are numbers, by name."""
        found = {str(key)[:LONGEST]: self.number(key) for key in list(self._raw)[:LONGEST]}
        return {printable(key): value for key, value in found.items() if value is not None}

    def each(self) -> dict[str, Untrusted]:
        """Those of its values that are objects, by name."""
        items = list(self._raw.items())[:LONGEST]
        return {printable(str(key)[:LONGEST]): Untrusted(value) for key, value in items if isinstance(value, Mapping)}

    def plain(self) -> dict[str, Any]:
        """All of it, cut to size, for people and archives."""
        found = _plain(self._raw, depth=4)
        assert isinstance(found, dict)
        return found


def _plain(value: Any, *, depth: int) -> Any:
    if isinstance(value, str):
        return printable(value[:LONGEST])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if abs(value) < LARGEST else None  # NaN is not
    if isinstance(value, list) and depth:
        return [_plain(item, depth=depth - 1) for item in value[:LONGEST]]
    if isinstance(value, Mapping) and depth:
        items = list(value.items())[:LONGEST]
        return {printable(str(key)[:LONGEST]): _plain(item, depth=depth - 1) for key, item in items}
    return None
