"""Ranges from calibration: one for every tensor, checked before anything is built on them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edgecnn.core.errors import StepError

DEAD_WIDTH = 1e-3
"""The width of a tensor that was never anything but zero: whatever it may hold elsewhere, its scale is a usual one."""
LEAST_WIDTH = 1e-9
"""What is narrower holds the rounding errors of zeros. Everything else keeps its own width: what follows may scale it
up again."""


class Range(NamedTuple):
    """The values a tensor takes, in its own units."""

    low: float
    high: float


class Grid(NamedTuple):
    """`real = scale * (code - zero_point)` for codes in [`low_code`, `high_code`]."""

    scale: float
    zero_point: int
    low_code: int
    high_code: int


@dataclass(frozen=True, slots=True)
class RangeTable:
    """Range by tensor name."""

    ranges: Mapping[str, Range]

    def __post_init__(self) -> None:
        broken = [name for name, found in self.ranges.items() if not all(map(math.isfinite, found))]
        if broken:
            raise StepError(
                "not-finite",
                f"calibration met NaN or infinity in {len(broken)} of {len(self.ranges)} tensors",
                why="first: " + ", ".join(broken[:3]),
                hint="check the weights and the preprocessing: `edgecnn inspect` shows both",
            )

    def __getitem__(self, name: str) -> Range:
        return self.ranges[name]

    def __contains__(self, name: object) -> bool:
        return name in self.ranges

    def to_json(self) -> str:
        return json.dumps({name: list(found) for name, found in self.ranges.items()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RangeTable:
        return cls({name: Range(*found) for name, found in json.loads(text).items()})


def floored(found: Range, *, least: float = LEAST_WIDTH) -> Range:
    """The range widened to hold zero (padding and ReLU need it exactly) and to at least `least`; `DEAD_WIDTH` for one
    that holds nothing but zero."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if low == high:
        return Range(0.0, DEAD_WIDTH)
    return Range(low, high) if high - low >= least else Range(low, low + least)


def asymmetric(found: Range, *, signed: bool) -> Grid:
    """256 codes over the range, zero exactly on a code."""
    low, high = floored(found)
    scale = (high - low) / 255.0
    shift = -128 if signed else 0
    zero_point = round(-low / scale) + shift
    return Grid(scale, max(shift, min(shift + 255, zero_point)), shift, shift + 255)


def symmetric(found: Range) -> Grid:
    """255 codes around zero: zero point 0, as TensorRT wants it."""
    low, high = floored(found)
    return Grid(max(-low, high) / 127.0, 0, -128, 127)
