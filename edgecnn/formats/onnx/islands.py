"""Islands of an ONNX graph: the operators between a convolution and the next that have to stay in float together."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.quantize import islands

STEEP = frozenset({"Exp", "Log", "Reciprocal", "Sqrt"})
ELEMENTWISE = frozenset(
    (
        *("Abs", "Add", "Cast", "Clip", "Div", "Elu", "Equal", "Erf", "Greater", "GreaterOrEqual", "Identity", "Less"),
        *("LeakyRelu", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "Pow", "Relu", "Sigmoid", "Sign", "Softplus"),
        *("Sub", "Tanh", "Where"),
    )
)
REDUCING = frozenset(
    (
        *("AveragePool", "Expand", "GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Reshape"),
        *("Squeeze", "Transpose", "Unsqueeze"),
    )
)


def float_islands(graph: ir.Graph) -> frozenset[str]:
    """The names of the nodes that have to stay in float."""
    return frozenset(islands.float_islands([_described(node) for node in graph]))


def _described(node: ir.Node) -> islands.IslandOperator:
    return islands.IslandOperator(
        layer=str(node.name),
        reads=tuple(str(value.name) for value in node.inputs if value is not None and value.const_value is None),
        writes=tuple(str(value.name) for value in node.outputs),
        joins=node.op_type in STEEP | ELEMENTWISE | REDUCING,
        steep=node.op_type in STEEP or _is_root(node),
    )


def _is_root(node: ir.Node) -> bool:
    """Whether it is a power below one: a root, or a reciprocal."""
    power = node.inputs[1] if node.op_type == "Pow" else None
    if power is None:
        return False
    return power.const_value is None or bool((power.const_value.numpy() < 1).any())
