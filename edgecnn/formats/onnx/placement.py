"""Placement of Q/DQ pairs: one table per target family, one walk over the graph.

Runtimes fuse a float operator between DequantizeLinear and QuantizeLinear into an integer one only when the pairs
stand where their pattern matcher expects them. The tables say where that is; the walk finds the tensors.

Sources: ONNX Runtime `core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc`; TensorRT
developer guide, "Q/DQ layer-placement recommendations".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgecnn.formats.onnx.islands import float_islands
from edgecnn.quantize.ranges import Grid, Range, asymmetric, symmetric


@dataclass(frozen=True, slots=True)
class Placement:
    """One family's rules.

    `weighted` operators carry constant weights; `joined` ones are integer kernels with quantized inputs and output;
    `carried` ones only move values, so their output shares the grid of their input. `outputs` says whether a result
    is quantized where it is made (after a clipping activation) or only where a weighted operator reads it;
    `integer_bias` whether biases become INT32; `convolved_norms` whether batch norms that stand alone become depthwise
    convolutions first (TensorRT fuses them in float).
    """

    name: str
    grid: Callable[[Range], Grid]
    symmetric: bool
    weighted: frozenset[str]
    joined: frozenset[str]
    carried: frozenset[str]
    outputs: bool
    integer_bias: bool
    convolved_norms: bool


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
        convolved_norms=True,
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
        convolved_norms=False,
    ),
}


DEFAULT = FAMILIES["onnxruntime"]


@dataclass(slots=True)
class Places:
    """What to quantize: `points` maps a tensor to the one whose range it uses (itself unless carried); `readers`
    lists the (node, input index) pairs that read it through Q/DQ; `weighted` lists the operators whose weights
    become INT8; `fenced` the float results that the runtime must not see a pair behind."""

    points: dict[ir.Value, ir.Value] = field(default_factory=dict)
    readers: dict[ir.Value, list[tuple[ir.Node, int]]] = field(default_factory=dict)
    weighted: list[ir.Node] = field(default_factory=list)
    fenced: list[ir.Value] = field(default_factory=list)

    def observed(self) -> list[str]:
        """Names of the tensors whose ranges calibration has to find."""
        return sorted({str(source.name) for source in self.points.values()})


def place(graph: ir.Graph, placement: Placement, *, keep_float: frozenset[str] = frozenset()) -> Places:
    """Walk `graph` (topologically sorted) and decide. Nodes in `keep_float` and in islands are left alone."""
    places = Places()
    islands = float_islands(graph)
    depth: dict[ir.Node, int] = {}
    for node in graph:
        depth[node] = 1 + _depth_of(node.inputs, depth)
        if node.name in keep_float:
            if placement.outputs:
                fence = result_of(graph, node)
                if fence not in places.fenced:  # an activation has the result of its convolution
                    places.fenced.append(fence)
        elif node.name in islands:
            continue
        elif node.op_type in placement.weighted and has_constant_weight(node):
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
            _read_identity(places, node, depth)
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
    """The tensor to quantize behind `node`: after a ReLU or a Clip at zero that nobody else reads around, whose work
    the grid's own ends then do. A grid with an exact zero cannot end exactly at both -1 and 1: such a Clip stays."""
    out = node.outputs[0]
    uses = out.uses()
    if len(uses) == 1 and out not in graph.outputs:
        (use,) = uses
        if use.idx == 0 and (use.node.op_type == "Relu" or _clips_at_zero(use.node)):
            return use.node.outputs[0]
    return out


def _clips_at_zero(node: ir.Node) -> bool:
    least = node.inputs[1] if node.op_type == "Clip" and len(node.inputs) > 1 else None
    return least is not None and least.const_value is not None and float(least.const_value.numpy()) == 0.0


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


def _read_identity(places: Places, node: ir.Node, depth: dict[ir.Node, int]) -> None:
    """Of the two branches that meet in a residual Add, quantize the shallower; the convolution that ends the deeper
    one takes the Add in."""
    if any(value is None or value.const_value is not None for value in node.inputs) or len(node.inputs) != 2:
        return
    depths = [_depth_of([value], depth) for value in node.inputs]
    identity = depths.index(min(depths))
    branch = node.inputs[1 - identity]
    producer = branch.producer() if branch is not None else None
    if producer is not None and producer.op_type in ("Conv", "ConvTranspose"):
        _read(places, node, identity)


def _depth_of(values: Sequence[ir.Value | None], depth: dict[ir.Node, int]) -> int:
    """Operators on the longest path from an input of the graph to any of `values`."""
    producers = (value.producer() for value in values if value is not None)
    return max((depth.get(producer, 0) for producer in producers if producer is not None), default=0)
