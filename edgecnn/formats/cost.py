"""Cost of a graph: what each operator computes and moves, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

OperatorKind = Literal["integer", "float", "conversion", "other"]
"""`conversion` changes type or layout only. `other` works on shapes and indices, or its type is not known."""
ComputePrecision = Literal["fp32", "fp16", "int8", "other"]

LARGEST_SIDE, MOST_AXES = 1 << 40, 16
"""A graph may come from a device that is not to be trusted; beyond these a shape is not known."""
BYTES = {
    **dict.fromkeys(("int8", "uint8", "bool", "float8"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64"), 8),
    **dict.fromkeys(("int4", "uint4"), 0.5),
}
PRECISIONS: dict[str, ComputePrecision] = {
    **dict.fromkeys(("int8", "uint8"), "int8"),
    **dict.fromkeys(("float16", "bfloat16"), "fp16"),
    "float32": "fp32",
}


TimedRow = Mapping[str, Any]
"""A row of a runtime's layer profile, as the probe sends it."""


class Tensor(NamedTuple):
    """numpy's name of the type, and the shape where it is known."""

    dtype: str
    shape: tuple[int, ...] | None

    @property
    def elements(self) -> int | None:
        if self.shape is None or len(self.shape) > MOST_AXES:
            return None
        if not all(0 <= side < LARGEST_SIDE for side in self.shape):
            return None
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int | None:
        elements, size = self.elements, BYTES.get(self.dtype)
        return None if elements is None or size is None else math.ceil(elements * size)


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of an operator; None where a shape or the operator is not known.

    `macs` are multiply-accumulates of convolutions and matrix products; `operations` are two for each of these, and
    one for each element that another operator computes. Bytes are those of every tensor once.
    """

    macs: int | None = None
    operations: int | None = None
    weight_bytes: int | None = None
    activation_bytes: int | None = None

    @property
    def nbytes(self) -> int | None:
        if self.weight_bytes is None or self.activation_bytes is None:
            return None
        return self.weight_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator as a runtime runs it. `layer` is its name in the user's file; `merged` are other layers of that file
    that run inside it; `shape` is that of the first output."""

    layer: str
    op: str
    kind: OperatorKind
    precision: ComputePrecision
    shape: tuple[int, ...] | None = None
    cost: Cost = Cost()
    merged: tuple[str, ...] = ()


def kind_of(precision: ComputePrecision, *, moves: bool) -> OperatorKind:
    """What an operator is, from the type it computes in."""
    if moves:
        return "conversion"
    return {"int8": "integer", "fp32": "float", "fp16": "float"}.get(precision, "other")  # type: ignore[return-value]


def total(values: list[int | None]) -> int | None:
    """The sum, or None where one is not known."""
    return None if None in values else sum(value for value in values if value is not None)


def times(*values: int | None) -> int | None:
    """The product, or None where one is not known."""
    return None if None in values else math.prod(value for value in values if value is not None)
