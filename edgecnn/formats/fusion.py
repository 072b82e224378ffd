"""Fusion lint: load the file in its runtime and count what stayed in float."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FloatLayer:
    """A layer that an INT8 file still computes in float, and why."""

    name: str
    op: str
    why: str


@dataclass(frozen=True, slots=True)
class Fusion:
    """What a runtime made of a file.

    `counts` are the runtime's own operators after its optimiser (ONNX Runtime: op types; LiteRT: op codes and
    DELEGATE partitions; TensorRT: layer types). `integer` and `floating` count the layers that carry weights or
    join branches. `status` is `checked`; `refused` when the runtime does not take the file, with its words in
    `note`; or `skipped`, with the reason there.
    """

    runtime: str
    status: str
    counts: dict[str, int] = field(default_factory=dict)
    integer: int = 0
    floating: int = 0
    float_layers: tuple[FloatLayer, ...] = ()
    warnings: tuple[str, ...] = ()
    note: str = ""
