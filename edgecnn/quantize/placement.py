"""Where Q/DQ pairs go: one table per target family, one walk over the graph.
 Runtimes fuse a float operator between DequantizeLinear and QuantizeLinear into an integer one only when the pairs
stand where their pattern matcher expects them. The tables say where that is; the walk finds the tensors.

Sources: ONNX Runtime `core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc`; TensorRT
developer guide, "Q/DQ layer-placement recommendations".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir  # noqa: TID253

from edgecnn.quantize.ranges import Grid, Range, asymmetric, symmetric

CLIPPING = frozenset({"Relu", "Clip"})


@dataclass(frozen=True, slots=True)
class Placement:
    """One family's rules.

    `weighted` operators carry constant weights; `joined` ones are integer kernels with quantized inputs and output;
    `carried` ones only move values, so their output shares the grid of their input. `outputs` says whether a result
    is quantized where it is made (after a clipping activation) or only where a weighted operator reads it;
    `integer_bias` whether biases become INT32.
    """

    name: str
    grid: Callable[[Range], Grid]
    symmetric: bool
    weighted: frozenset[str]
    joined: frozenset[str]
    carried: frozenset[str]
    outputs: bool
    integer_bias: bool


def _unsigned(found: Range) -> Grid:
    return asymmetric(found, signed=False)


FAMILIES = {
    # u8 activations are the one choice that fuses and is fast on x86-64 and on ARM64 alike.
    "onnxruntime": Placement(
        name="onnxruntime",
        grid=_unsigned,
        symmetric=False,
        weighted=frozenset({"Conv", "Gemm", "MatMul"}),
        joined=frozenset({"Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool", "LeakyRelu", "Sigmoid"}),
        carried=frozenset(
            {
                "MaxPool",
                "Reshape",
                "Flatten",
                "Transpose",
                "Squeeze",
                "Unsqueeze",
                "Slice",
                "Gather",
                "Split",
                "Tile",
                "Expand",
            }
        ),
        outputs=True,
        integer_bias=True,
    ),
    # Results of weighted operators stay unquantized so that Conv + bias + Add + ReLU fuse; of a residual Add only the
    # identity branch is quantized.
    "tensorrt": Placement(
        name="tensorrt",
        grid=symmetric,
        symmetric=True,
        weighted=frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"}),
        joined=frozenset(),
        carried=frozenset(),
        outputs=False,
        integer_bias=False,
    ),
}


@dataclass(slots=True)
class Places:
    """What to quantize: `points` maps a tensor to the one whose range it uses (itself unless carried); `readers`
    lists the (node, input index) pairs that read it through Q/DQ; `weighted` lists the operators whose weights
    become INT8."""

    points: dict[ir.Value, ir.Value] = field(default_factory=dict)
    readers: dict[ir.Value, list[tuple[ir.Node, int]]] = field(default_factory=dict)
    weighted: list[ir.Node] = field(default_factory=list)

    def observed(self) -> list[str]:
        """Names of the tensors whose ranges calibration has to find."""
        return sorted({str(source.name) for source in self.points.values()})


def place(graph: ir.Graph, placement: Placement, *, keep_float: frozenset[str] = frozenset()) -> Places:
    """Walk `graph` (topologically sorted) and decide. Nodes named in `keep_float` are left alone."""
    places = Places()
    order = {node: index for index, node in enumerate(graph)}
    for node in graph:
        if node.name in keep_float:
            continue
        if node.op_type in placement.weighted and has_constant_weight(node):
            places.weighted.append(node)
            _read(places, node, 0)
            if placement.outputs:
                _made(places, graph, node)
        elif node.op_type in placement.joined and _is_activation(node):
            for index in range(len(node.inputs)):
                _read(places, node, index)
            _made(places, graph, node)
        elif node.op_type in placement.carried and node.inputs[0] in places.points:
            _carry(places, graph, node)
        elif node.op_type == "Add" and placement.symmetric:
            _read_identity(places, node, order)
    return places


def has_constant_weight(node: ir.Node) -> bool:
    """Whether input 1 is a float constant this writer can turn into INT8."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None or weight.dtype != ir.DataType.FLOAT:
        return False
    if node.op_type == "Gemm":
        plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        return plain and node.attributes.get_int("transA", 0) == 0
    return node.op_type != "MatMul" or (weight.shape is not None and len(weight.shape) == 2)


def result_of(graph: ir.Graph, node: ir.Node) -> ir.Value:
    """The tensor to quantize behind `node`: after a ReLU or Clip that nobody else reads around, whose work the
    grid's own ends then do."""
    out = node.outputs[0]
    uses = out.uses()
    if len(uses) == 1 and out not in graph.outputs:
        (use,) = uses
        if use.node.op_type in CLIPPING and use.idx == 0:
            return use.node.outputs[0]
    return out


def _is_activation(node: ir.Node) -> bool:
    """Whether an operator computes on activations of the usual kind, not on shapes."""
    floats = all(value is not None and value.dtype in (ir.DataType.FLOAT, None) for value in node.inputs)
    return floats and any(value is not None and value.const_value is None for value in node.inputs)


def _read(places: Places, node: ir.Node, index: int) -> None:
    value = node.inputs[index]
    if value is not None:
        places.points.setdefault(value, value)
        places.readers.setdefault(value, []).append((node, index))


def _made(places: Places, graph: ir.Graph, node: ir.Node) -> None:
    result = result_of(graph, node)
    if result in graph.outputs and node.op_type in ("Gemm", "MatMul"):
        return  # the integer kernel can give float logits itself
    places.points.setdefault(result, result)


def _carry(places: Places, graph: ir.Graph, node: ir.Node) -> None:
    if any(output in graph.outputs for output in node.outputs):
        return
    source = node.inputs[0]
    assert source is not None
    _read(places, node, 0)
    for output in node.outputs:
        places.points[output] = places.points[source]


def _read_identity(places: Places, node: ir.Node, order: dict[ir.Node, int]) -> None:
    """Of the two branches that meet in a residual Add, quantize the shorter: the one whose last operator comes
    first."""
    if any(value is None or value.const_value is not None for value in node.inputs) or len(node.inputs) != 2:
        return
    made = [
        order.get(producer, -1) if (producer := value.producer()) is not None else -1
        for value in node.inputs
        if value is not None
    ]
    branch = node.inputs[made.index(max(made))]
    producer = branch.producer() if branch is not None else None
    if made[0] != made[1] and producer is not None and producer.op_type in ("Conv", "ConvTranspose"):
        _read(places, node, made.index(min(made)))
