"""Multiply-accumulates and operations of ONNX operators, and of those ONNX Runtime puts in their place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgecnn.formats.cost import Tensor, times

CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv"})
PRODUCTS = frozenset({"Gemm", "FusedGemm", "QGemm"})
MATMULS = frozenset(
    {
        "MatMul",
        "FusedMatMul",
        "QLinearMatMul",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    }
)
WEIGHT_AT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}
"""Which input holds the weight; the second one elsewhere."""
INTEGER = frozenset({"DynamicQuantizeMatMul"})
"""Integer kernels with a float input."""
CASTS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "CastLike"})
MOVES = CASTS | {
    "Transpose",
    "ReorderInput",
    "ReorderOutput",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "Expand",
    "MemcpyFromHost",
    "MemcpyToHost",
}
POOLS = frozenset({"MaxPool", "AveragePool", "NhwcMaxPool", "QLinearAveragePool", "LpPool"})
REDUCTIONS = ("GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool", "QLinearReduceMean", "Reduce")


def macs(op: str, inputs: Sequence[Tensor], output: Tensor, attributes: Mapping[str, Any]) -> int | None:
    """Multiply-accumulates; 0 for operators that are neither convolution nor matrix product."""
    at = WEIGHT_AT.get(op, 1)
    weight = inputs[at] if at < len(inputs) else Tensor("?", None)
    if op in CONVOLUTIONS:
        return times(output.elements, _per_output(weight))
    if op == "ConvTranspose":
        return times(inputs[0].elements, _per_output(weight))
    if op in PRODUCTS:
        depth = _depth(inputs[0], transposed=bool(attributes.get("transA")))
        return times(output.elements, depth if depth is not None else _per_last(weight, output))
    if op in MATMULS:
        depth = _depth(inputs[0], transposed=bool(attributes.get("transA")))
        return times(output.elements, depth)
    return 0


def operations(op: str, inputs: Sequence[Tensor], output: Tensor, attributes: Mapping[str, Any]) -> int | None:
    """Two for each multiply-accumulate; for other operators one for each element computed or compared."""
    counted = macs(op, inputs, output, attributes)
    if counted is None or counted:
        return None if counted is None else 2 * counted
    if op in MOVES:
        return output.elements if op in CASTS else 0
    if op in POOLS:
        return times(output.elements, math.prod(attributes.get("kernel_shape") or [1]))
    if op.startswith(REDUCTIONS):
        return inputs[0].elements if inputs else None
    return output.elements


def _per_output(weight: Tensor) -> int | None:
    """Elements of a weight (O, I, ...) for one of its first axis."""
    if weight.elements is None or not weight.shape or not weight.shape[0]:
        return None
    return weight.elements // weight.shape[0]


def _depth(tensor: Tensor, *, transposed: bool) -> int | None:
    """Length of the axis that a product sums over."""
    if not tensor.shape or tensor.elements is None:
        return None
    return tensor.shape[-2] if transposed and len(tensor.shape) > 1 else tensor.shape[-1]


def _per_last(weight: Tensor, output: Tensor) -> int | None:
    if weight.elements is None or not output.shape or not output.shape[-1]:
        return None
    return weight.elements // output.shape[-1]
