"""Operators in the graph of a .pt2 file: they tell which of several networks of equal weights was exported.

The graph is read as JSON and never run. Its operators may be those of export or decomposed ones, so families are
counted: `conv2d` and `convolution` are one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgecnn.models.facts import LARGEST_SIDE
from edgecnn.models.steps import record

_FAMILIES = {
    "conv2d": "convolution",
    "_convolution": "convolution",
    "max_pool2d_with_indices": "max_pool2d",
    "adaptive_avg_pool2d": "mean",
    "_adaptive_avg_pool2d": "mean",
    "constant_pad_nd": "pad",
    "reflection_pad2d": "pad",
    "replication_pad2d": "pad",
}
_COUNTED = frozenset({"convolution", "max_pool2d", "avg_pool2d", "mean", "pad", "relu", "gelu", "silu", "hardswish"})


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What a .pt2 file says of its network: how often each family of operators occurs, and the image it was exported
    with, (C, H, W), where it has one image input."""

    operators: Mapping[str, int]
    input_shape: tuple[int, int, int] | None


def facts_of(program: Any) -> GraphFacts:
    """Facts of a serialized ExportedProgram, as parsed from JSON (torch/_export/serde/schema.py).

    Raises KeyError, TypeError, ValueError or AttributeError where it is none.
    """
    graph = program["graph_module"]["graph"]
    operators = _counted(str(node["target"]) for node in graph["nodes"])
    if not operators:
        raise ValueError("the graph has no operators")
    specs = program["graph_module"]["signature"]["input_specs"]
    names = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in specs if "user_input" in spec]
    shape = [_side(side) for side in graph["tensor_values"][names[0]]["sizes"]] if len(names) == 1 else []
    fits = len(shape) == 4 and all(0 < side <= LARGEST_SIDE for side in shape[1:])
    return GraphFacts(operators, (shape[1], shape[2], shape[3]) if fits else None)


def _side(side: Mapping[str, Any]) -> int:
    """A size, or the one a free size had when the network was exported; 0 where neither is there."""
    if "as_int" in side:
        return int(side["as_int"])
    return int(((side["as_expr"].get("hint") or {}).get("as_int")) or 0)


def _counted(names: Any) -> Counter[str]:
    plain = (name.removeprefix("torch.ops.").removeprefix("aten.").partition(".")[0].rstrip("_") for name in names)
    families = (_FAMILIES.get(name, name) for name in plain)
    return Counter(name for name in families if name in _COUNTED)


def the_one(graph: GraphFacts, modules: Sequence[nn.Module], channels: Sequence[int]) -> int | None:
    """The position of the network whose operators are nearest to those of the graph; None where two are."""
    distances = [_distance(graph, module, count) for module, count in zip(modules, channels, strict=True)]
    best = min(distances)
    return distances.index(best) if distances.count(best) == 1 and not math.isinf(best) else None


def _distance(graph: GraphFacts, module: nn.Module, channels: int) -> float:
    shape = graph.input_shape or (channels, 224, 224)
    steps, failed = record(module, torch.zeros(1, *shape))
    if failed:
        return math.inf
    mine = _counted(step.op for step in steps)
    return sum(abs(mine[name] - graph.operators.get(name, 0)) for name in {*mine, *graph.operators})
