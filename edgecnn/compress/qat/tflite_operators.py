"""TFLite operators in torch, on NHWC tensors as the file has them; the batch, which the file fixes at 1, is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from edgecnn.compress.qat.fake_quantize import quantize_activation
from edgecnn.compress.qat.network import Attributes, NodeInputs, OperatorFunction
from edgecnn.compress.qat.operands import integers, optional, prelu, required, unary, unsupported
from edgecnn.compress.qat.windows import same_padding, split_padding

FUSED: Mapping[int, Callable[[Tensor], Tensor]] = {
    1: F.relu,
    2: lambda x: x.clamp(-1.0, 1.0),
    3: F.relu6,
    4: torch.tanh,
}
"""By the codes of `ActivationFunctionType`."""
SAME = 0
"""`Padding.SAME`; the other is VALID."""


def _activated(x: Tensor, attributes: Attributes) -> Tensor:
    code = attributes.get("fusedActivationFunction", 0)
    return FUSED[code](x) if code else x


def _inside(x: Tensor, kernel: Sequence[int], attributes: Attributes, *, fill: float) -> tuple[Tensor, list[int]]:
    """(NHWC images as an NCHW view, padded where the operator cannot; padding left to it)."""
    view = x.permute(0, 3, 1, 2)
    if attributes["padding"] != SAME:
        return view, [0, 0]
    strides = attributes["strideH"], attributes["strideW"]
    dilations = attributes.get("dilationHFactor", 1), attributes.get("dilationWFactor", 1)
    sides = same_padding(view.shape[2:], kernel, strides, dilations)
    pads = [before for before, _ in sides] + [after for _, after in sides]
    return split_padding(view, pads, fill=fill, most=[size // 2 for size in kernel] if fill else None)


def _convolved(inputs: NodeInputs, attributes: Attributes, weight: Tensor, *, groups: int) -> Tensor:
    view, padding = _inside(required(inputs, 0), weight.shape[2:], attributes, fill=0.0)
    strides = attributes["strideH"], attributes["strideW"]
    dilations = attributes["dilationHFactor"], attributes["dilationWFactor"]
    convolved = F.conv2d(view, weight, optional(inputs, 2), strides, padding, dilations, groups)
    return _activated(convolved.permute(0, 2, 3, 1), attributes)


def conv_2d(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    weight = required(inputs, 1).permute(0, 3, 1, 2)
    return _convolved(inputs, attributes, weight, groups=required(inputs, 0).shape[3] // weight.shape[1])


def depthwise_conv_2d(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return _convolved(inputs, attributes, required(inputs, 1).permute(3, 0, 1, 2), groups=required(inputs, 0).shape[3])


def fully_connected(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, weight = required(inputs, 0), required(inputs, 1)
    if not attributes.get("keepNumDims"):
        x = x.reshape(-1, weight.shape[1])
    return _activated(F.linear(x, weight, optional(inputs, 2)), attributes)


def max_pool_2d(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    kernel, strides = _kernel(attributes), (attributes["strideH"], attributes["strideW"])
    view, padding = _inside(required(inputs, 0), kernel, attributes, fill=-torch.inf)
    return _activated(F.max_pool2d(view, kernel, strides, padding).permute(0, 2, 3, 1), attributes)


def average_pool_2d(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    """Padding does not count."""
    kernel, strides = _kernel(attributes), (attributes["strideH"], attributes["strideW"])
    view, padding = _inside(required(inputs, 0), kernel, attributes, fill=0.0)
    ones, _ = _inside(torch.ones_like(required(inputs, 0)[:1, :, :, :1]), kernel, attributes, fill=0.0)
    averages = F.avg_pool2d(view, kernel, strides, padding) / F.avg_pool2d(ones, kernel, strides, padding)
    return _activated(averages.permute(0, 2, 3, 1), attributes)


def _kernel(attributes: Attributes) -> tuple[int, int]:
    return attributes["filterHeight"], attributes["filterWidth"]


def pad(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, sides, fill = required(inputs, 0), required(inputs, 1).tolist(), optional(inputs, 2)
    return F.pad(x, list(chain(*reversed(sides))), value=0.0 if fill is None else float(fill))


def reshape(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    """The batch is the outermost part of the first axis."""
    shape = list(attributes["shape"])
    return required(inputs, 0).reshape(-1, *shape[1:]) if shape else required(inputs, 0).reshape(())


def broadcast_to(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, shape = required(inputs, 0), list(attributes["shape"])
    if x.ndim == len(shape) and shape[0] == 1:
        shape[0] = x.shape[0]
    return x.expand(shape)


def slice_(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, begin, size = required(inputs, 0), integers(required(inputs, 1)) or [], integers(required(inputs, 2)) or []
    for axis in range(1, x.ndim):
        x = x.narrow(axis, begin[axis], size[axis] if size[axis] != -1 else x.shape[axis] - begin[axis])
    return x


def strided_slice(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x = required(inputs, 0)
    begin, end, stride = (integers(required(inputs, index)) or [] for index in (1, 2, 3))
    chosen = [slice(None)]
    for axis in range(1, len(begin)):
        first = None if attributes["beginMask"] >> axis & 1 else begin[axis]
        last = None if attributes["endMask"] >> axis & 1 else end[axis]
        if attributes["shrinkAxisMask"] >> axis & 1:
            first, last = begin[axis], begin[axis] + 1 or None
        chosen.append(slice(first, last, stride[axis]))
    return x[tuple(chosen)].reshape(-1, *attributes["shape"][1:])


def reduced(run: Callable[..., Tensor]) -> OperatorFunction:
    def reduce(inputs: NodeInputs, attributes: Attributes) -> Tensor:
        return run(required(inputs, 0), dim=integers(required(inputs, 1)), keepdim=bool(attributes.get("keepDims")))

    return reduce


def resize(mode: str) -> OperatorFunction:
    def run(inputs: NodeInputs, attributes: Attributes) -> Tensor:
        view, size = required(inputs, 0).permute(0, 3, 1, 2), integers(required(inputs, 1)) or []
        aligned, centred = bool(attributes.get("alignCorners")), bool(attributes.get("halfPixelCenters"))
        if mode == "nearest" and not aligned:
            resized = F.interpolate(view, size, mode="nearest-exact" if centred else "nearest")
        elif mode == "bilinear" and aligned != centred:
            resized = F.interpolate(view, size, mode="bilinear", align_corners=aligned)
        else:
            raise unsupported(f"Resize {mode} with alignCorners {aligned}, halfPixelCenters {centred}")
        return resized.permute(0, 2, 3, 1)

    return run


def split(inputs: NodeInputs, attributes: Attributes) -> Sequence[Tensor]:
    axis, x = integers(required(inputs, 0)) or [0], required(inputs, 1)
    return torch.split(x, x.shape[axis[0]] // attributes["numSplits"], axis[0])


def split_v(inputs: NodeInputs, attributes: Attributes) -> Sequence[Tensor]:
    axis = integers(required(inputs, 2)) or [0]
    return torch.split(required(inputs, 0), integers(required(inputs, 1)) or [], axis[0])


def transpose(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return required(inputs, 0).permute(integers(required(inputs, 1)) or [])


def softmax(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    beta: float = attributes.get("beta", 1.0)
    return torch.softmax(required(inputs, 0) * beta, -1)


def batch_matmul(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    a, b = required(inputs, 0), required(inputs, 1)
    return (a.mT if attributes.get("adjX") else a) @ (b.mT if attributes.get("adjY") else b)


def gelu(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return F.gelu(required(inputs, 0), approximate="tanh" if attributes.get("approximate") else "none")


def select(inputs: NodeInputs, _: Attributes) -> Tensor:
    return torch.where(required(inputs, 0), required(inputs, 1), required(inputs, 2))


def tabled(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    """Forwards what the runtime's integer kernel gives for each code, backwards the gradient of the function itself."""
    x, table, source = required(inputs, 0), required(inputs, 1), attributes["source"]
    places = (x.detach() / source.scale).round().long() + (source.zero_point - source.low_code)
    exact = table[places.clamp(0, len(table) - 1)]
    smooth = quantize_activation(attributes["operator"](inputs[:1], attributes), attributes["grid"])
    return smooth + (exact - smooth).detach()


def _binary(run: Callable[[Tensor, Tensor], Tensor]) -> OperatorFunction:
    return lambda inputs, attributes: _activated(run(required(inputs, 0), required(inputs, 1)), attributes)


OPERATORS: Mapping[str, OperatorFunction] = {
    "ABS": unary(torch.abs),
    "ADD": _binary(torch.add),
    "AVERAGE_POOL_2D": average_pool_2d,
    "BATCH_MATMUL": batch_matmul,
    "BROADCAST_TO": broadcast_to,
    "CONCATENATION": lambda inputs, attributes: _activated(
        torch.cat([x for x in inputs if x is not None], attributes["axis"]), attributes
    ),
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEQUANTIZE": unary(lambda x: x),
    "DIV": _binary(torch.div),
    "ELU": unary(F.elu),
    "EQUAL": _binary(torch.eq),
    "EXP": unary(torch.exp),
    "EXPAND_DIMS": reshape,
    "FULLY_CONNECTED": fully_connected,
    "GELU": gelu,
    "GREATER": _binary(torch.gt),
    "GREATER_EQUAL": _binary(torch.ge),
    "HARD_SWISH": unary(F.hardswish),
    "LEAKY_RELU": lambda inputs, attributes: F.leaky_relu(required(inputs, 0), attributes.get("alpha", 0.0)),
    "LESS": _binary(torch.lt),
    "LESS_EQUAL": _binary(torch.le),
    "LOGISTIC": unary(torch.sigmoid),
    "MAXIMUM": _binary(torch.maximum),
    "MAX_POOL_2D": max_pool_2d,
    "MEAN": reduced(torch.mean),
    "MINIMUM": _binary(torch.minimum),
    "MUL": _binary(torch.mul),
    "NEG": unary(torch.neg),
    "PAD": pad,
    "PADV2": pad,
    "POW": _binary(torch.pow),
    "PRELU": prelu,
    "QUANTIZE": unary(lambda x: x),
    "REDUCE_MAX": reduced(torch.amax),
    "RELU": unary(F.relu),
    "RELU6": unary(F.relu6),
    "RELU_0_TO_1": unary(lambda x: x.clamp(0.0, 1.0)),
    "RELU_N1_TO_1": unary(lambda x: x.clamp(-1.0, 1.0)),
    "RESHAPE": reshape,
    "RESIZE_BILINEAR": resize("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": resize("nearest"),
    "RSQRT": unary(torch.rsqrt),
    "SELECT": select,
    "SELECT_V2": select,
    "SLICE": slice_,
    "SOFTMAX": softmax,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQRT": unary(torch.sqrt),
    "SQUARE": unary(torch.square),
    "SQUARED_DIFFERENCE": _binary(lambda a, b: (a - b).square()),
    "SQUEEZE": reshape,
    "STRIDED_SLICE": strided_slice,
    "SUB": _binary(torch.sub),
    "SUM": reduced(torch.sum),
    "TANH": unary(torch.tanh),
    "TRANSPOSE": transpose,
}
MOVES = frozenset(
    {"BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "SPLIT", "SPLIT_V"}
    | {"SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "DEQUANTIZE"}
)
"""Operators whose results are on the grid of their inputs already."""
TABLED = frozenset({"ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RSQRT", "SQRT", "TANH"})
"""Functions of one code; LiteRT's fixed-point kernels are up to a code off, and hard-swish off to one side."""
