"""ONNX graphs for QAT: the quantized file, with its Q/DQ pairs, as a torch module over the float weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgecnn.compress.qat.fake_quantize import WeightGrid
from edgecnn.compress.qat.network import GraphNode, Network, Values
from edgecnn.compress.qat.onnx_operators import OPERATORS
from edgecnn.compress.qat.operands import fake_quantize
from edgecnn.compress.qat.prepared import PreparedNetwork, require_same
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.stage import Context
from edgecnn.formats.onnx.placement import Placement, Places, place
from edgecnn.formats.onnx.qdq import INT32_ROOM, channel_axis, write
from edgecnn.formats.onnx.quantize import calibrate, chosen, floating_layers, opened, placement_for, runner
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import Grid, RangeTable

LEARNED = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), (1, 2)),
    "MatMul": (1,),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "InstanceNormalization"), (1, 2)),
    "PRelu": (1,),
}
"""Which inputs of an operator are its weights; other constants stay as they are."""


class Layer(NamedTuple):
    """A quantized layer's weight and bias by their names in the float file, and their grid."""

    weight: str
    bias: str
    grid: WeightGrid


def prepare(source: Artifact, *, options: QuantizeOptions, context: Context) -> PreparedNetwork:
    """The network that `quantize` would write of the float file `source`, open for training.

    Raises InputError when `keep_float` names no layer, StepError naming an operator that is unknown here or when a
    tensor is not finite.
    """
    placement = placement_for(context)
    model = opened(source.path, placement)
    plain = floating(source.path)
    require_same(plain, runner(source.path, [plain.output]), context.data.calibration)
    places = chosen(model, placement, options)
    ranges = calibrate(source, places, placement=placement, options=options, context=context)
    keep_float = floating_layers(model, options)
    network = quantized(source.path, placement, ranges, bits=options.weight_bits, keep_float=keep_float)
    return PreparedNetwork(network, ranges, partial(save, opened(source.path, placement)))


def quantized(
    path: Path, placement: Placement, ranges: RangeTable, *, bits: int, keep_float: frozenset[str]
) -> Network:
    """The network that `quantize` would write of the float file at `path` with these ranges, open for training.

    Raises StepError naming an operator that is unknown here.
    """
    model = opened(path, placement)
    places = place(model.graph, placement, keep_float=keep_float)
    layers = _layers(places, placement, ranges, limit=2 ** (bits - 1) - 1)
    values = _values(model.graph)
    write(model, places, placement=placement, ranges=ranges, weight_bits=bits)
    return _network(model.graph, values, layers)


def floating(path: Path) -> Network:
    """The float file as it is. Raises StepError naming an operator that is unknown here."""
    model = ir.load(path)
    return _network(model.graph, _values(model.graph), {})


def save(model: ir.Model, weights: Mapping[str, Tensor], out: Path) -> None:
    """Write `model` with `weights` in place of its initializers of those names."""
    for name, tensor in weights.items():
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(np.ascontiguousarray(tensor.numpy()), name=name)
    ir.save(model, out)


def _layers(places: Places, placement: Placement, ranges: RangeTable, *, limit: int) -> dict[str, Layer]:
    """By node name."""
    layers = {}
    for node in places.weighted:
        source, weight = node.inputs[0], node.inputs[1]
        assert source is not None
        assert weight is not None
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        constant = bias is not None and bias.const_value is not None and placement.integer_bias
        scale = placement.grid(ranges[str(places.points[source].name)]).scale if constant else None
        grid = WeightGrid(channel_axis(node), limit, scale, INT32_ROOM)
        layers[str(node.name)] = Layer(str(weight.name), str(bias.name) if bias is not None else "", grid)
    return layers


def _values(graph: ir.Graph) -> Values:
    """What the float graph holds, sorted by what becomes of it."""
    learned = {
        str(value.name)
        for node in graph
        for value in (node.inputs[index] for index in LEARNED.get(node.op_type, ()) if index < len(node.inputs))
        if value is not None and value.is_initializer() and value.dtype == ir.DataType.FLOAT
    }
    trained: dict[str, Tensor] = {}
    constants: dict[str, Tensor] = {}
    integers: dict[str, Tensor] = {}
    for name, value in graph.initializers.items():
        _sort_in(name, value.const_value, trained if name in learned else constants, integers)
    return Values(trained, constants, integers)


def _sort_in(name: str, held: Any, floats: dict[str, Tensor], integers: dict[str, Tensor]) -> None:
    array = held.numpy()
    (floats if array.dtype.kind == "f" else integers)[name] = torch.from_numpy(np.array(array))


def _network(graph: ir.Graph, values: Values, layers: Mapping[str, Layer]) -> Network:
    """`values` are those of the float graph; of what `write` added only the grids are read."""
    constants, whole = dict(values.constants), dict(values.integers)
    nodes: list[GraphNode] = []
    for node in graph:
        names = tuple("" if value is None else str(value.name) for value in node.inputs)
        outputs = tuple(str(value.name) for value in node.outputs)
        layer = layers.get(str(node.name))
        if node.op_type == "Constant":
            _sort_in(outputs[0], _constant(node), constants, whole)
        elif node.op_type == "QuantizeLinear":
            nodes.append(GraphNode(str(node.name), fake_quantize, names[:1], outputs, {"grid": _grid(node)}))
        elif node.op_type == "DequantizeLinear":
            if node.inputs[0] is not None and not node.inputs[0].is_initializer():
                nodes.append(GraphNode(str(node.name), OPERATORS["Identity"], names[:1], outputs))
        elif layer is not None:
            inputs = (names[0], layer.weight, *([layer.bias] if layer.bias else []))
            nodes.append(GraphNode(str(node.name), _operator(node), inputs, outputs, _attributes(node), layer.grid))
        else:
            nodes.append(GraphNode(str(node.name), _operator(node), names, outputs, _attributes(node)))
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise StepError(
            "not-a-classifier", f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs, not one each"
        )
    held = Values(values.trained, constants, whole)
    return Network(nodes, held, input=str(graph.inputs[0].name), output=str(graph.outputs[0].name))


def _operator(node: ir.Node) -> Any:
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
        raise StepError(
            "unknown-operator",
            f"quantization-aware training does not know the operator {node.op_type} of {node.name}",
            why="what is trained has to be what is written, and this operator cannot be computed in torch here",
            hint="leave `qat` out of the recipe for this network, or replace the operator",
        )
    return OPERATORS[node.op_type]


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _constant(node: ir.Node) -> Any:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is None:
        raise StepError("unknown-operator", f"the constant {node.name} is not a tensor", hint="leave `qat` out")
    return tensor


def _grid(node: ir.Node) -> Grid:
    """The grid of a QuantizeLinear, from its own constants."""
    scale, zero = (ir.convenience.get_const_tensor(value) for value in node.inputs[1:3] if value is not None)
    assert scale is not None
    assert zero is not None
    codes = np.iinfo(zero.numpy().dtype)
    return Grid(float(scale.numpy()), int(zero.numpy()), int(codes.min), int(codes.max))
