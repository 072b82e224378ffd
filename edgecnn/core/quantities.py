"""Quantities as a person writes them: shares, times and sizes such as `1%`, `5 ms`, `4 MB`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*")


def share(value: object) -> object:
    """`1%`, `0.5 %` or 0.01 as a share of one. Raises ValueError for a text that is neither."""
    if isinstance(value, bool):
        raise ValueError("write a percentage such as 1%, or a share such as 0.01")
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        try:
            return float(match[1]) / 100 if match else float(value)
        except ValueError:
            raise ValueError("write a percentage such as 1%, or a share such as 0.01") from None
    return value


def milliseconds(value: object) -> object:
    """`5 ms`, `0.9ms`, `0.01 s` or 5 in milliseconds. Raises ValueError for a text that is none of these."""
    return _quantity(value, {"ms": 1.0, "s": 1e3, "us": 1e-3, "": 1.0}, "write a time such as 5 ms")


def size_bytes(value: object) -> object:
    """`4 MB`, `900 kB`, `1.5 MiB` or 4000000 in bytes. Raises ValueError for a text that is none of these."""
    units = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "": 1}
    quantity = _quantity(value, units, "write a size such as 4 MB")
    return round(quantity) if isinstance(quantity, float) else quantity


def in_words(value: float, unit: str) -> str:
    """A time in `ms` or a size in `B` as a person writes it, and as it is read again: `5 ms`, `68.6 kB`."""
    if unit != "B":
        return f"{value:.6g} {unit}"
    for larger, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= step:
            return f"{value / step:.6g} {larger}"
    return f"{value:.6g} B"


def _quantity(value: object, units: Mapping[str, float], hint: str) -> object:
    if isinstance(value, bool):
        raise ValueError(hint)
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value)
    if match is None or match[2].lower() not in units:
        raise ValueError(hint)
    quantity = float(match[1]) * units[match[2].lower()]
    if not math.isfinite(quantity):
        raise ValueError(hint)
    return quantity


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a cost stays: a share of it (no unit), or an absolute number of bytes or milliseconds."""

    value: float
    unit: Literal["", "B", "ms"] = ""

    @property
    def is_share(self) -> bool:
        return not self.unit

    def of(self, whole: float) -> float:
        """The absolute amount, where the whole costs `whole`."""
        return self.value * whole if self.is_share else self.value

    def __str__(self) -> str:
        """As it is stored and read again: `0.5`, `2000000 B`, `8 ms`."""
        return f"{self.value:.12g} {self.unit}".rstrip()


def _amount(unit: Literal["B", "ms"], read: Callable[[object], object]) -> Callable[[object], Amount]:
    """A validator: `50%` or a number below 1 as a share; anything else as `read` says, in `unit`."""

    def validated(value: object) -> Amount:
        if isinstance(value, Amount):
            return value
        try:
            part = share(value)
        except ValueError:
            part = None
        if isinstance(part, int | float) and 0 < part < 1:
            return Amount(float(part))
        absolute = read(value)
        if isinstance(absolute, int | float) and absolute > 0:
            return Amount(float(absolute), unit)
        raise ValueError(f"{value!r} is no share between 0 and 1, such as 50%, and nothing with a unit")

    return validated


SizeAmount = Annotated[Amount, BeforeValidator(_amount("B", size_bytes)), PlainSerializer(str)]
TimeAmount = Annotated[Amount, BeforeValidator(_amount("ms", milliseconds)), PlainSerializer(str)]
Share = Annotated[float, BeforeValidator(share), Field(ge=0, lt=1, allow_inf_nan=False)]
Milliseconds = Annotated[float, BeforeValidator(milliseconds), Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(size_bytes), Field(gt=0)]
