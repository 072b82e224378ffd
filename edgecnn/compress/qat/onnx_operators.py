"""ONNX operators in torch, as classifiers are exported to them (opset 13 to 21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgecnn.compress.qat import onnx_spatial as spatial
from edgecnn.compress.qat.network import Attributes, NodeInputs, OperatorFunction
from edgecnn.compress.qat.operands import axes_of, integers, optional, prelu, required, unary, unsupported

DTYPES = {
    **{1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64},
    **{9: torch.bool, 10: torch.float32, 11: torch.float32},
}
"""By the codes of `TensorProto.DataType`; half and double are computed in float32."""


def gemm(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    a, b, c = required(inputs, 0), required(inputs, 1), optional(inputs, 2)
    a = a.T if attributes.get("transA", 0) else a
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transB", 0) and alpha == 1.0 and beta == 1.0 and (c is None or c.ndim == 1):
        return F.linear(a, b, c)
    product: Tensor = alpha * (a @ (b.T if attributes.get("transB", 0) else b))
    return product if c is None else product + beta * c


def _over_space(reduce: Callable[..., Tensor]) -> OperatorFunction:
    return lambda inputs, _: reduce(required(inputs, 0), dim=list(range(2, required(inputs, 0).ndim)), keepdim=True)


def _reduced(reduce: Callable[..., Tensor]) -> OperatorFunction:
    def run(inputs: NodeInputs, attributes: Attributes) -> Tensor:
        x, axes = required(inputs, 0), axes_of(inputs, attributes)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return x
        return reduce(x, dim=axes or list(range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))

    return run


def clip(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, low, high = required(inputs, 0), optional(inputs, 1), optional(inputs, 2)
    if low is None and high is None:
        return x
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def batch_norm(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, scale, bias, mean, variance = (required(inputs, index) for index in range(5))
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def layer_norm(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, scale = required(inputs, 0), required(inputs, 1)
    axis = attributes.get("axis", -1) % x.ndim
    normalised = F.layer_norm(x, x.shape[axis:], None, None, attributes.get("epsilon", 1e-5)) * scale
    bias = optional(inputs, 2)
    return normalised if bias is None else normalised + bias


def instance_norm(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, scale, bias = (required(inputs, index) for index in range(3))
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, attributes.get("epsilon", 1e-5))


def reshape(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, shape = required(inputs, 0), integers(required(inputs, 1)) or []
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def squeeze(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, axes = required(inputs, 0), axes_of(inputs, attributes)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, axes = required(inputs, 0), axes_of(inputs, attributes) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def slice_(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x = required(inputs, 0)
    starts, ends = (integers(required(inputs, index)) or [] for index in (1, 2))
    axes = axes_of(inputs, attributes, index=3) or list(range(len(starts)))
    steps = integers(optional(inputs, 4)) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(chosen.start, chosen.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64, device=x.device))
    return x


def gather(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, indices = required(inputs, 0), required(inputs, 1).to(required(inputs, 0).device)
    axis = attributes.get("axis", 0) % x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    gathered = x.index_select(axis, indices.reshape(-1))
    return gathered.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def expand(inputs: NodeInputs, _: Attributes) -> Tensor:
    """Broadcast both ways: sizes of 1 in the shape keep those of the tensor."""
    x, shape = required(inputs, 0), integers(required(inputs, 1)) or []
    rank = max(x.ndim, len(shape))
    have, wanted = [1] * (rank - x.ndim) + list(x.shape), [1] * (rank - len(shape)) + shape
    return x.expand([mine if size == 1 else size for mine, size in zip(have, wanted, strict=True)])


def split(inputs: NodeInputs, attributes: Attributes) -> Sequence[Tensor]:
    x, sizes = required(inputs, 0), integers(optional(inputs, 1))
    axis = attributes.get("axis", 0)
    return torch.split(x, sizes or -(-x.shape[axis] // attributes["num_outputs"]), axis)


def shape(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    sizes = list(required(inputs, 0).shape)
    return torch.tensor(sizes[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def gelu(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return F.gelu(required(inputs, 0), approximate=attributes.get("approximate", "none"))


def hard_sigmoid(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return torch.clamp(required(inputs, 0) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0.0, 1.0)


def leaky_relu(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return F.leaky_relu(required(inputs, 0), attributes.get("alpha", 0.01))


def _binary(run: Callable[[Tensor, Tensor], Tensor]) -> OperatorFunction:
    return lambda inputs, _: run(required(inputs, 0), required(inputs, 1))


def _folded(run: Callable[[Tensor, Tensor], Tensor]) -> OperatorFunction:
    def fold(inputs: NodeInputs, _: Attributes) -> Tensor:
        result = required(inputs, 0)
        for index in range(1, len(inputs)):
            result = run(result, required(inputs, index))
        return result

    return fold


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() or b.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _where(inputs: NodeInputs, _: Attributes) -> Tensor:
    chosen, yes, no = (required(inputs, index) for index in range(3))
    return torch.where(chosen.to(yes.device), yes, no.to(yes.device))


def _cast(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    if attributes["to"] not in DTYPES:
        raise unsupported(f"Cast to type {attributes['to']}")
    return required(inputs, 0).to(DTYPES[attributes["to"]])


OPERATORS: Mapping[str, OperatorFunction] = {
    "Abs": unary(torch.abs),
    "Add": _binary(torch.add),
    "AveragePool": spatial.average_pool,
    "BatchNormalization": batch_norm,
    "Cast": _cast,
    "Clip": clip,
    "Concat": lambda inputs, attributes: torch.cat([x for x in inputs if x is not None], attributes["axis"]),
    "Conv": spatial.conv,
    "ConvTranspose": spatial.conv_transpose,
    "DepthToSpace": spatial.depth_to_space,
    "Div": _binary(_divide),
    "Dropout": unary(lambda x: x),
    "Elu": lambda inputs, attributes: F.elu(required(inputs, 0), attributes.get("alpha", 1.0)),
    "Erf": unary(torch.erf),
    "Exp": unary(torch.exp),
    "Expand": lambda inputs, _: (
        required(inputs, 0) * torch.ones(integers(inputs[1]) or [], device=required(inputs, 0).device)
    ),
    "Flatten": lambda inputs, attributes: _flatten(required(inputs, 0), attributes.get("axis", 1)),
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": _over_space(torch.mean),
    "GlobalMaxPool": _over_space(torch.amax),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": unary(F.hardswish),
    "Identity": unary(lambda x: x),
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LeakyRelu": leaky_relu,
    "Log": unary(torch.log),
    "LogSoftmax": lambda inputs, attributes: required(inputs, 0).log_softmax(attributes.get("axis", -1)),
    "MatMul": _binary(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": spatial.max_pool,
    "Min": _folded(torch.minimum),
    "Mish": unary(F.mish),
    "Mul": _binary(torch.mul),
    "Neg": unary(torch.neg),
    "PRelu": prelu,
    "Pad": spatial.pad,
    "Pow": _binary(torch.pow),
    "Range": lambda inputs, _: torch.arange(*(int(required(inputs, index)) for index in range(3))),
    "Reciprocal": unary(torch.reciprocal),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": unary(F.relu),
    "Reshape": reshape,
    "Resize": spatial.resize,
    "Shape": shape,
    "Sigmoid": unary(torch.sigmoid),
    "Slice": slice_,
    "Softmax": lambda inputs, attributes: required(inputs, 0).softmax(attributes.get("axis", -1)),
    "Softplus": unary(F.softplus),
    "Split": split,
    "Sqrt": unary(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": unary(torch.tanh),
    "Tile": lambda inputs, _: required(inputs, 0).repeat(integers(inputs[1]) or []),
    "Transpose": lambda inputs, attributes: _transpose(required(inputs, 0), attributes.get("perm")),
    "Unsqueeze": unsqueeze,
    "Where": _where,
}


def _flatten(x: Tensor, axis: int) -> Tensor:
    rows = 1
    for size in x.shape[: axis % x.ndim if axis < 0 else axis]:
        rows *= size
    return x.reshape(rows, -1)


def _transpose(x: Tensor, order: Sequence[int] | None) -> Tensor:
    return x.permute(tuple(order) if order else tuple(reversed(range(x.ndim))))
