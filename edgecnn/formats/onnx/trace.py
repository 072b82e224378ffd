"""Trace of ONNX Runtime: from its optimised graph back to the layers of the user's file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecnn.formats.cost import Operator, Tensor, TimedRow, times
from edgecnn.formats.onnx import cost_ops
from edgecnn.formats.onnx.cost import OnnxGraph, nature

BLOCKED = "com.microsoft.nchwc"
"""The domain of operators whose channels are filled up to whole blocks."""
SUFFIX = re.compile(r"(_nchwc|_token_\d+|_\d+)$")
"""What ONNX Runtime adds to a name when it replaces a node."""
WEIGHTED = cost_ops.CONVOLUTIONS | cost_ops.PRODUCTS | cost_ops.MATMULS | {"ConvTranspose"}
FARTHEST = 12
"""Operators that one kernel may have taken in, at most."""
TRACE_TYPES = {"float": "float32", "double": "float64"}


def tensors_of(raw: Sequence[tuple[str, tuple[int, ...]]]) -> list[Tensor]:
    """Types and shapes as the trace writes them."""
    return [Tensor(TRACE_TYPES.get(dtype, dtype), shape) for dtype, shape in raw]


def nodes(rows: Sequence[TimedRow], graph: bytes, path: Path) -> list[Operator]:
    """What each timed row is; `graph` is ONNX Runtime's optimised file, empty where there is none."""
    return join(rows, graph, OnnxGraph.read(path))


def join(rows: Sequence[TimedRow], optimised: bytes, original: OnnxGraph) -> list[Operator]:
    """For each row of the trace the node that it times, named as in the user's file.

    Rows have `name`, `op`, `inputs`, `outputs`. Without a readable graph the row itself is all there is: weights that
    were packed at load time are not in it, and what they cost is not known.
    """
    graph = OnnxGraph.parse(optimised, _shapes(rows, optimised)) if optimised else None
    if graph is None:
        return [_alone(row) for row in rows]
    found = _matched(rows, graph)
    channels = _Channels(graph, original)
    return [
        _alone(row) if node is None else _named(_unfilled(graph.described(node), node, graph, channels), node, original)
        for row, node in zip(rows, found, strict=True)
    ]


def _shapes(rows: Sequence[TimedRow], raw: bytes) -> dict[str, Tensor]:
    """What the run told of each node's outputs, by tensor name."""
    graph = OnnxGraph.parse(raw, {})
    if graph is None:
        return {}
    shapes: dict[str, Tensor] = {}
    for row, node in zip(rows, _matched(rows, graph), strict=True):
        if node is not None:
            shapes.update(zip((name for name in node.output if name), tensors_of(row["outputs"]), strict=False))
    return shapes


def _matched(rows: Sequence[TimedRow], graph: OnnxGraph) -> list[Any]:
    """By name and operator; what has no name in the graph in the order of its operator."""
    named = {(node.name, node.op_type): node for node in graph.nodes if node.name}
    nameless: dict[str, list[Any]] = {}
    for node in graph.nodes:
        if not node.name:
            nameless.setdefault(node.op_type, []).append(node)
    found = []
    for row in rows:
        node = named.get((row["name"], row["op"]))
        waiting = nameless.get(row["op"])
        found.append(node if node is not None or not waiting else waiting.pop(0))
    return found


def _alone(row: TimedRow) -> Operator:
    inputs, outputs = tensors_of(row["inputs"]), tensors_of(row["outputs"])
    precision, kind = nature(row["op"], inputs)
    return Operator(row["name"], row["op"], kind, precision, outputs[0].shape if outputs else None)


class _Channels:
    """How many channels a tensor of the blocked layout really has: as many as in the user's file."""

    def __init__(self, graph: OnnxGraph, original: OnnxGraph) -> None:
        self._graph, self._original = graph, original

    def of(self, name: str) -> int | None:
        maker = self._graph.maker.get(name)
        shape = self._graph.tensor(name).shape
        if maker is not None and maker.domain == BLOCKED and maker.op_type != "ReorderOutput":
            if maker.op_type == "ReorderInput":
                shape = self._graph.tensor(maker.input[0]).shape
            else:
                found = _origin(maker, self._original)[1]
                shape = self._original.tensor(found).shape if found else shape
        return shape[1] if shape is not None and len(shape) > 1 else None


def _unfilled(described: Operator, node: Any, graph: OnnxGraph, channels: _Channels) -> Operator:
    """A convolution of the blocked layout without the channels that only fill up a block."""
    weight = graph.tensor(node.input[1]).shape if len(node.input) > 1 else None
    if node.domain != BLOCKED or not node.output:
        return described
    real, shape = channels.of(node.output[0]), described.shape
    if real is None or shape is None or len(shape) < 3:
        return described
    shape = (shape[0], real, *shape[2:])
    if node.op_type != "Conv" or weight is None or len(weight) < 3 or graph.tensor(node.input[1]).elements is None:
        return replace(described, shape=shape)
    grouped = weight[1] == 1 or next((item.i for item in node.attribute if item.name == "group"), 1) > 1
    depth = weight[1] if grouped else channels.of(node.input[0])
    counted = times(math.prod(shape), depth, math.prod(weight[2:]))
    cost = replace(described.cost, macs=counted, operations=times(2, counted))
    return replace(described, shape=shape, cost=cost)


def _named(described: Operator, node: Any, original: OnnxGraph) -> Operator:
    layer, _tensor = _origin(node, original)
    op = f"{described.op} {BLOCKED.rpartition('.')[2]}" if node.domain == BLOCKED else described.op
    return replace(described, layer=layer or described.layer, op=op)


def _origin(node: Any, original: OnnxGraph) -> tuple[str | None, str | None]:
    """(layer, tensor) of the user's file that a node stands for; None where it stands for none.

    A node keeps its name, with something added, or bears that of the tensor it makes. A convolution that took in its
    activation bears the activation's tensor: the layer is the convolution before it.
    """
    by_name = {item.name: item for item in original.nodes if item.name}
    for name in (*_stripped(node.name), *node.output):
        found = by_name.get(name) or original.maker.get(name)
        if found is not None:
            layer = _weighted_before(found, original) if node.op_type in WEIGHTED else found
            return layer.name or layer.output[0], name if name in original.maker else found.output[0]
    return None, None


def _stripped(name: str) -> list[str]:
    """The name, and the name less each ending that was added to it."""
    names = [name]
    while SUFFIX.search(names[-1]) and len(names) < 4:
        names.append(SUFFIX.sub("", names[-1]))
    return names


def _weighted_before(node: Any, original: OnnxGraph) -> Any:
    """The nearest operator with weights at or before `node`, along first inputs."""
    at = node
    for _ in range(FARTHEST):
        if at.op_type in WEIGHTED:
            return at
        found = original.maker.get(at.input[0]) if at.input else None
        if found is None:
            break
        at = found
    return node
