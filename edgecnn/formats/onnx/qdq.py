"""The Q/DQ writer: places and ranges in, an explicitly quantized ONNX graph out."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecnn.core.errors import StepError
from edgecnn.formats.onnx.placement import Placement, Places
from edgecnn.quantize.ranges import Grid, RangeTable

INT32_ROOM = 2.0**30
SMALLEST_SCALE = float(np.finfo(np.float32).tiny) * 2**10


def write(model: ir.Model, places: Places, *, placement: Placement, ranges: RangeTable, weight_bits: int) -> None:
    """Insert the Q/DQ pairs and the INT8 weights into `model`, in place.

    Weights are s8, symmetric, one scale per output channel (`max|w| / 127`, so that any quantizer rebuilds the same
    grid). Biases become INT32 on the grid `input scale * weight scale` where the family wants it: ONNX Runtime
    needs that to fuse a Gemm, TensorRT refuses it.
    """
    graph = model.graph
    grids = {value: placement.grid(ranges[str(source.name)]) for value, source in places.points.items()}
    for node in places.weighted:
        source = node.inputs[0]
        assert source is not None
        floor = _bias_floor(node, grids[source].scale) if placement.integer_bias else 0.0
        scales = _quantize_weight(graph, node, bits=weight_bits, floor=floor)
        if placement.integer_bias:
            _quantize_bias(graph, node, grids[source].scale * scales.astype(np.float64))
    for value, grid in grids.items():
        _insert_pair(graph, value, grid, places.readers.get(value, []) if not placement.outputs else None)
    for value in places.fenced:
        _fence(graph, value)
    graph.sort()


def _insert_pair(graph: ir.Graph, value: ir.Value, grid: Grid, readers: list[tuple[ir.Node, int]] | None) -> None:
    """Put value → QuantizeLinear → DequantizeLinear before `readers`; None means before whoever reads it."""
    uses = [(use.node, use.idx) for use in value.uses()] if readers is None else readers
    scale, zero = _constants(graph, value, grid)
    quantize = ir.node("QuantizeLinear", [value, scale, zero], name=f"{value.name}/quantize")
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero], name=f"{value.name}/dequantize")
    quantize.outputs[0].name = f"{value.name}/q"
    dequantize.outputs[0].name = f"{value.name}/dq"
    dequantize.outputs[0].shape, dequantize.outputs[0].dtype = value.shape, ir.DataType.FLOAT
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    for node, index in uses:
        node.replace_input_with(index, dequantize.outputs[0])
    if readers is None and value in graph.outputs:
        graph.outputs[graph.outputs.index(value)] = _renamed_output(value, dequantize.outputs[0])


def _fence(graph: ir.Graph, value: ir.Value) -> None:
    """Put a sum of one operand between `value` and its readers: ONNX Runtime quantizes the weights of a float operator
    by itself when it finds it between DequantizeLinear and QuantizeLinear, and removes an Identity."""
    uses = [(use.node, use.idx) for use in value.uses()]
    producer = value.producer()
    if not uses or producer is None:
        return
    fence = ir.node("Sum", [value], name=f"{value.name}/fence")
    fence.outputs[0].name = f"{value.name}/fenced"
    fence.outputs[0].shape, fence.outputs[0].type = value.shape, value.type
    graph.insert_after(producer, fence)
    for node, index in uses:
        node.replace_input_with(index, fence.outputs[0])


def _renamed_output(old: ir.Value, new: ir.Value) -> ir.Value:
    name = old.name
    old.name = f"{name}/float"
    new.name = name
    return new


def _constants(graph: ir.Graph, value: ir.Value, grid: Grid) -> tuple[ir.Value, ir.Value]:
    dtype = np.uint8 if grid.low_code == 0 else np.int8
    scale = _initializer(graph, f"{value.name}/scale", np.array(grid.scale, dtype=np.float32))
    zero = _initializer(graph, f"{value.name}/zero_point", np.array(grid.zero_point, dtype=dtype))
    return scale, zero


def _quantize_weight(graph: ir.Graph, node: ir.Node, *, bits: int, floor: np.ndarray | float) -> np.ndarray:
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    axis = channel_axis(node)
    values = weight.const_value.numpy().astype(np.float32)
    codes, scales = quantize_weight(values, axis=axis, bits=bits, floor=floor)
    name = str(weight.name)
    made = _initializer(graph, f"{name}/codes", codes)
    scale = _initializer(graph, f"{name}/scale", scales)
    zero = _initializer(graph, f"{name}/zero_point", np.zeros(len(scales), dtype=np.int8))
    dequantize = ir.node("DequantizeLinear", [made, scale, zero], {"axis": axis}, name=f"{node.name}/{name}/dequantize")
    dequantize.outputs[0].name = f"{node.name}/{name}/dq"
    dequantize.outputs[0].shape, dequantize.outputs[0].dtype = weight.shape, ir.DataType.FLOAT
    graph.insert_before(node, dequantize)
    node.replace_input_with(1, dequantize.outputs[0])
    if not weight.uses():
        graph.initializers.pop(name, None)
    return scales


def _quantize_bias(graph: ir.Graph, node: ir.Node, scales: np.ndarray) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None or bias.const_value is None:
        return
    values = np.broadcast_to(bias.const_value.numpy().astype(np.float64).reshape(-1), scales.shape)
    name = f"{node.name}/bias"
    codes = _initializer(graph, f"{name}/codes", np.rint(values / scales).astype(np.int32))
    scale = _initializer(graph, f"{name}/scale", scales.astype(np.float32))
    zero = _initializer(graph, f"{name}/zero_point", np.zeros(len(scales), dtype=np.int32))
    dequantize = ir.node("DequantizeLinear", [codes, scale, zero], {"axis": 0}, name=f"{name}/dequantize")
    dequantize.outputs[0].name = f"{name}/dq"
    dequantize.outputs[0].shape, dequantize.outputs[0].dtype = ir.Shape([len(scales)]), ir.DataType.FLOAT
    graph.insert_before(node, dequantize)
    node.replace_input_with(2, dequantize.outputs[0])
    if not bias.uses():
        graph.initializers.pop(str(bias.name), None)


def quantize_weight(
    values: np.ndarray, *, axis: int, bits: int, floor: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the shape of `values`) and scales (float32, one per index of `axis`)."""
    limit = 2 ** (bits - 1) - 1
    rest = tuple(index for index in range(values.ndim) if index != axis)
    largest = np.abs(values).max(axis=rest).astype(np.float64)
    scales = np.maximum(np.maximum(largest / limit, floor), SMALLEST_SCALE).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    codes = np.clip(np.rint(values / scales.reshape(shape)), -limit, limit).astype(np.int8)
    return codes, scales


def channel_axis(node: ir.Node) -> int:
    """The axis of the output channels in the weight."""
    if node.op_type in ("ConvTranspose", "MatMul"):
        return 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return 0


def _bias_floor(node: ir.Node, input_scale: float) -> np.ndarray | float:
    """Smallest weight scale per channel at which the bias still fits into INT32: channels that batch-norm folding
    killed have almost no weights but keep their bias."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None or bias.const_value is None:
        return 0.0
    values = np.abs(bias.const_value.numpy().astype(np.float64)).reshape(-1)
    if not np.isfinite(values).all() or not math.isfinite(input_scale):
        raise StepError("not-finite", f"the bias of {node.name} holds NaN or infinity", hint="check the checkpoint")
    floor: np.ndarray = values / (input_scale * INT32_ROOM)
    return floor


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """The constant of that name; under a longer one when the name is taken by other values (one weight, two inputs
    whose scales raise its smallest channels differently)."""
    taken = graph.initializers.get(name)
    if taken is not None and taken.const_value is not None:
        held = taken.const_value.numpy()
        same = held.dtype == array.dtype and np.array_equal(held, array)
        return taken if same else _initializer(graph, f"{name}+", array)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
