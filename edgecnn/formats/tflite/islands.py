"""Islands: groups of TFLite operators that together compute one activation and cannot be quantized one by one.

The converter writes ELU, SELU, CELU, Mish, Softplus and LogSigmoid with EXP, LOG and SELECT. On the way the exponential
of values that SELECT throws away takes the whole range of a tensor, and its 256 codes with it. Such a group stays in
float from its entrance to its exit. So does a softmax over many positions, whose scale of 1/256 the format prescribes:
nothing it computes may reach half a code.
"""

from __future__ import annotations

from typing import Any

from edgecnn.formats.tflite import flatbuffer

STEEP = frozenset({"EXP", "LOG"})
ELEMENTWISE = STEEP | frozenset(
    (
        *("ABS", "ADD", "DIV", "ELU", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS"),
        *("LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG"),
        *("NOT_EQUAL", "POW", "RELU", "RELU6", "RSQRT", "SELECT", "SELECT_V2", "SQRT", "SQUARE", "SUB", "TANH"),
    )
)
MOST_POSITIONS = 64
"""A softmax over more: where they share the weight evenly, each has less than four codes."""


def float_islands(graph: flatbuffer.Graph) -> list[str]:
    """The layers that have to stay in float, in the order of the graph."""
    entrances: dict[int, frozenset[int]] = {}
    islands: dict[int, list[Any]] = {}
    for operator in graph.operators:
        source = _entrance(graph, operator, entrances)
        for index in operator.outputs:
            entrances[int(index)] = frozenset({int(index)}) if source is None else source
        if source is not None and len(source) == 1:
            islands.setdefault(next(iter(source)), []).append(operator)
    kept = {id(item) for group in islands.values() for item in _around_steep(graph, group)}
    kept |= {id(operator) for operator in graph.operators if _is_wide_softmax(graph, operator)}
    return [graph.layer(operator) for operator in graph.operators if id(operator) in kept]


def _entrance(graph: flatbuffer.Graph, operator: Any, entrances: dict[int, frozenset[int]]) -> frozenset[int] | None:
    """The tensors that an elementwise operator is computed from, through others of its kind; None for all others."""
    if graph.op(operator) not in ELEMENTWISE:
        return None
    read = [int(index) for index in operator.inputs if index != -1 and not graph.is_constant(index)]
    return frozenset().union(*(entrances.get(index, frozenset({index})) for index in read))


def _around_steep(graph: flatbuffer.Graph, group: list[Any]) -> list[Any]:
    """Of the operators with one entrance those before and behind an exponential or a logarithm, and what they need."""
    steep = [operator for operator in group if graph.op(operator) in STEEP]
    behind = {int(index) for operator in steep for index in operator.outputs}
    kept = {id(operator) for operator in steep}
    for operator in group:
        if behind & {int(index) for index in operator.inputs}:
            kept.add(id(operator))
            behind |= {int(index) for index in operator.outputs}
    needed = {int(index) for operator in group if id(operator) in kept for index in operator.inputs}
    for operator in reversed(group):
        if needed & {int(index) for index in operator.outputs}:
            kept.add(id(operator))
            needed |= {int(index) for index in operator.inputs}
    return [operator for operator in group if id(operator) in kept]


def _is_wide_softmax(graph: flatbuffer.Graph, operator: Any) -> bool:
    output = int(operator.outputs[0])
    if graph.op(operator) not in ("SOFTMAX", "LOG_SOFTMAX") or output in graph.subgraph.outputs:
        return False
    return int(graph.subgraph.tensors[output].shape[-1]) > MOST_POSITIONS
