"""Islands of a TFLite file: the operators between a convolution and the next that have to stay in float together."""

from __future__ import annotations

from typing import Any

from edgecnn.formats.tflite import flatbuffer
from edgecnn.quantize import islands

STEEP = frozenset({"EXP", "LOG", "POW", "RSQRT", "SQRT"})
ELEMENTWISE = frozenset(
    (
        *("ABS", "ADD", "CAST", "DIV", "ELU", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS"),
        *("LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG"),
        *("NOT_EQUAL", "RELU", "RELU6", "SELECT", "SELECT_V2", "SIGN", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH"),
    )
)
REDUCING = frozenset({"AVERAGE_POOL_2D", "BROADCAST_TO", "MEAN", "RESHAPE", "SUM", "TRANSPOSE"})
MOST_POSITIONS = 64
"""A softmax over more: where they share the weight evenly, each has less than four codes."""


def float_islands(graph: flatbuffer.Graph) -> list[str]:
    """The layers that stay in float: islands, every softmax over many positions, whose scale of 1/256 the format
    prescribes, and what other subgraphs hold (the maximum of a pooling with gaps), for which there are no ranges."""
    found = {*islands.float_islands([_described(graph, operator) for operator in graph.operators])}
    found |= {graph.layer(operator) for operator in graph.operators if _is_wide_softmax(graph, operator)}
    return [graph.layer(operator) for operator in graph.operators if graph.layer(operator) in found] + inner_layers(
        graph
    )


def inner_layers(graph: flatbuffer.Graph) -> list[str]:
    """The layers of all subgraphs but the first."""
    inner = graph.model.subgraphs[1:]
    return [str(each.tensors[item.outputs[0]].name.decode()) for each in inner for item in each.operators or []]


def _described(graph: flatbuffer.Graph, operator: Any) -> islands.IslandOperator:
    op = graph.op(operator)
    return islands.IslandOperator(
        layer=graph.layer(operator),
        reads=tuple(graph.name(index) for index in operator.inputs if index != -1 and not graph.is_constant(index)),
        writes=tuple(graph.name(index) for index in operator.outputs),
        joins=op in STEEP | ELEMENTWISE | REDUCING,
        steep=op in STEEP,
    )


def _is_wide_softmax(graph: flatbuffer.Graph, operator: Any) -> bool:
    output = int(operator.outputs[0])
    if graph.op(operator) not in ("SOFTMAX", "LOG_SOFTMAX") or output in graph.subgraph.outputs:
        return False
    return int(graph.subgraph.tensors[output].shape[-1]) > MOST_POSITIONS
