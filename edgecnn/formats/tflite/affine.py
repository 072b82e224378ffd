"""Scales and shifts for each channel, written for TFLite as the depthwise convolutions that they are.

A batch norm that no convolution can take in (before an activation that opens a residual block) is converted to SUB, MUL
and ADD with constants of one scale each: where one channel is dead, its factor of 1/sqrt(epsilon) leaves no codes for
the others. A convolution has a scale for every channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecnn.formats.tflite import flatbuffer

ARITHMETIC = frozenset({"ADD", "SUB", "MUL", "DIV"})


def affines_to_convs(graph: flatbuffer.Graph) -> int:
    """Rewrite chains of arithmetic with one constant per channel on NHWC tensors as 1x1 depthwise convolutions; returns
    how many. The last tensor of a chain keeps its place, so what follows is as before."""
    users: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            users.setdefault(int(index), []).append(operator)
    outputs, taken, count = {*map(int, graph.subgraph.outputs)}, set[int](), 0
    for operator in graph.operators:
        if id(operator) in taken or _constant(graph, operator) is None:
            continue
        chain = [operator]
        while (following := _only_user(graph, chain[-1], users, outputs)) is not None:
            chain.append(following)
        taken |= {id(item) for item in chain}
        if any(np.unique(found).size > 1 for item in chain if (found := _constant(graph, item)) is not None):
            _rewrite(graph, chain)
            count += 1
    return count


def _constant(graph: flatbuffer.Graph, operator: Any) -> np.ndarray | None:
    """The constant of one value per channel, or one value, that an arithmetic operator applies to an NHWC tensor."""
    if graph.op(operator) not in ARITHMETIC or len(operator.inputs) != 2:
        return None
    constants = [int(index) for index in operator.inputs if graph.is_constant(index)]
    output = graph.subgraph.tensors[operator.outputs[0]]
    if len(constants) != 1 or len(output.shape) != 4 or output.type != flatbuffer.FLOAT32:
        return None
    (source,) = (int(index) for index in operator.inputs if index != constants[0])
    if tuple(graph.subgraph.tensors[source].shape) != tuple(output.shape):
        return None
    values = graph.constant(constants[0])
    if graph.op(operator) == "DIV" and (graph.is_constant(operator.inputs[0]) or not values.all()):
        return None
    channels = int(output.shape[3])
    if values.size not in (1, channels) or (values.size > 1 and values.shape[-1] != channels):
        return None
    return values.reshape(-1)


def _only_user(graph: flatbuffer.Graph, operator: Any, users: dict[int, list[Any]], outputs: set[int]) -> Any | None:
    """The next operator of the chain, where nobody else reads what this one computes and no activation is between."""
    result = int(operator.outputs[0])
    following = users.get(result, [])
    if result in outputs or operator.builtinOptions.fusedActivationFunction or len(following) != 1:
        return None
    return following[0] if _constant(graph, following[0]) is not None else None


def _rewrite(graph: flatbuffer.Graph, chain: list[Any]) -> None:
    first, last = chain[0], chain[-1]
    source = next(int(index) for index in first.inputs if not graph.is_constant(index))
    channels = int(graph.subgraph.tensors[source].shape[3])
    factor, shift = np.ones(channels), np.zeros(channels)
    for operator in chain:
        found = _constant(graph, operator)
        assert found is not None
        factor, shift = _applied(graph, operator, found.astype(np.float64), factor, shift)
    name = graph.layer(first)
    weight = graph.add_constant(f"{name}/factor", factor.reshape(1, 1, 1, channels).astype(np.float32))
    bias = graph.add_constant(f"{name}/shift", shift.astype(np.float32))
    graph.to_depthwise(last, [source, weight, bias], fused=last.builtinOptions.fusedActivationFunction)
    dropped = {id(operator) for operator in chain[:-1]}
    graph.subgraph.operators = [item for item in graph.subgraph.operators if id(item) not in dropped]


def _applied(
    graph: flatbuffer.Graph, operator: Any, values: np.ndarray, factor: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What x * factor + shift becomes behind the operator."""
    op, reversed_ = graph.op(operator), graph.is_constant(operator.inputs[0])
    if op == "ADD":
        return factor, shift + values
    if op == "SUB":
        return (-factor, values - shift) if reversed_ else (factor, shift - values)
    return (factor * values, shift * values) if op == "MUL" else (factor / values, shift / values)
