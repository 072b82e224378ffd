"""ONNX operators in torch, as classifiers are exported to them (opset 13 to 21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch  # noqa: TID253  (kernel, reached by a late import)
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor  # noqa: TID253

from edgecnn.compress.qat.fake_quantize import quantize_activation
from edgecnn.compress.qat.network import Attributes, Inputs, Operator
from edgecnn.compress.qat.windows import same_padding, split_padding
from edgecnn.core.errors import StepError

CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MAX_POOLS: tuple[Callable[..., Tensor], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE_POOLS: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
DTYPES = {
    **{1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64},
    **{9: torch.bool, 10: torch.float32, 11: torch.float32},
}
"""By the codes of `TensorProto.DataType`; half and double are computed in float32."""


def given(inputs: Inputs, index: int) -> Tensor:
    """An input that must be there."""
    value = inputs[index]
    assert value is not None
    return value


def optional(inputs: Inputs, index: int) -> Tensor | None:
    return inputs[index] if index < len(inputs) else None


def integers(value: Tensor | None) -> list[int] | None:
    return None if value is None else [int(item) for item in value.reshape(-1).tolist()]


def _axes(inputs: Inputs, attributes: Attributes, index: int = 1) -> list[int] | None:
    """Axes as an input (opset 13 and later) or as an attribute."""
    found = integers(optional(inputs, index))
    return found if found is not None else (list(attributes["axes"]) if "axes" in attributes else None)


def _window(x: Tensor, kernel: Sequence[int], attributes: Attributes) -> tuple[list[int], list[int], list[int]]:
    """(pads, strides, dilations) of a window of `kernel` over the spatial axes of `x`."""
    rank = len(kernel)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    wanted = attributes.get("auto_pad", "NOTSET")
    if wanted in ("SAME_UPPER", "SAME_LOWER"):
        sides = same_padding(x.shape[2:], kernel, strides, dilations)
        ordered = sides if wanted == "SAME_UPPER" else [(after, before) for before, after in sides]
        pads = [before for before, _ in ordered] + [after for _, after in ordered]
    return pads, strides, dilations


def conv(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, weight = given(inputs, 0), given(inputs, 1)
    pads, strides, dilations = _window(x, weight.shape[2:], attributes)
    x, padding = split_padding(x, pads, fill=0.0)
    run = CONVOLUTIONS[weight.ndim - 3]
    return run(x, weight, optional(inputs, 2), strides, padding, dilations, attributes.get("group", 1))


def conv_transpose(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, weight = given(inputs, 0), given(inputs, 1)
    pads, strides, dilations = _window(x, weight.shape[2:], attributes)
    rank = weight.ndim - 2
    extra = list(attributes.get("output_padding") or [0] * rank)
    if attributes.get("output_shape"):
        raise _unsupported("ConvTranspose with output_shape")
    run = TRANSPOSED[rank - 1]
    full = run(x, weight, optional(inputs, 2), strides, 0, extra, attributes.get("group", 1), dilations)
    for axis in range(rank):
        length = full.shape[2 + axis] - pads[axis] - pads[axis + rank]
        full = full.narrow(2 + axis, pads[axis], length)
    return full


def gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    a, b, c = given(inputs, 0), given(inputs, 1), optional(inputs, 2)
    a = a.T if attributes.get("transA", 0) else a
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transB", 0) and alpha == 1.0 and beta == 1.0 and (c is None or c.ndim == 1):
        return F.linear(a, b, c)
    found: Tensor = alpha * (a @ (b.T if attributes.get("transB", 0) else b))
    return found if c is None else found + beta * c


def max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, kernel = given(inputs, 0), attributes["kernel_shape"]
    pads, strides, dilations = _window(x, kernel, attributes)
    x, padding = split_padding(x, pads, fill=-torch.inf, most=[size // 2 for size in kernel])
    run, ceil = MAX_POOLS[len(kernel) - 1], bool(attributes.get("ceil_mode", 0))
    return run(x, kernel, strides, padding, dilations, ceil)


def average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, kernel = given(inputs, 0), attributes["kernel_shape"]
    pads, strides, dilations = _window(x, kernel, attributes)
    if any(dilation != 1 for dilation in dilations):
        raise _unsupported("AveragePool with dilations")
    run, ceil = AVERAGE_POOLS[len(kernel) - 1], bool(attributes.get("ceil_mode", 0))
    whole = bool(attributes.get("count_include_pad", 0))
    padded, padding = split_padding(x, pads, fill=0.0, most=[size // 2 for size in kernel])
    if padded is x or whole:
        return run(padded, kernel, strides, padding, ceil, whole)
    inside, _ = split_padding(torch.ones_like(x[:1, :1]), pads, fill=0.0, most=[0] * len(kernel))
    return run(padded, kernel, strides, 0, ceil) / run(inside, kernel, strides, 0, ceil)


def _over_space(reduce: Callable[..., Tensor]) -> Operator:
    return lambda inputs, _: reduce(given(inputs, 0), dim=list(range(2, given(inputs, 0).ndim)), keepdim=True)


def _reduced(reduce: Callable[..., Tensor]) -> Operator:
    def run(inputs: Inputs, attributes: Attributes) -> Tensor:
        x, axes = given(inputs, 0), _axes(inputs, attributes)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return x
        return reduce(x, dim=axes or list(range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))

    return run


def clip(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, low, high = given(inputs, 0), optional(inputs, 1), optional(inputs, 2)
    if low is None and high is None:
        return x
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def batch_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, scale, bias, mean, variance = (given(inputs, index) for index in range(5))
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def layer_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, scale = given(inputs, 0), given(inputs, 1)
    axis = attributes.get("axis", -1) % x.ndim
    found = F.layer_norm(x, x.shape[axis:], None, None, attributes.get("epsilon", 1e-5)) * scale
    bias = optional(inputs, 2)
    return found if bias is None else found + bias


def instance_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, scale, bias = (given(inputs, index) for index in range(3))
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, attributes.get("epsilon", 1e-5))


def reshape(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, shape = given(inputs, 0), integers(given(inputs, 1)) or []
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def squeeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axes = given(inputs, 0), _axes(inputs, attributes)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, axes = given(inputs, 0), _axes(inputs, attributes) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def slice_(inputs: Inputs, attributes: Attributes) -> Tensor:
    x = given(inputs, 0)
    starts, ends = (integers(given(inputs, index)) or [] for index in (1, 2))
    axes = _axes(inputs, attributes, index=3) or list(range(len(starts)))
    steps = integers(optional(inputs, 4)) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(chosen.start, chosen.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64, device=x.device))
    return x


def gather(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, indices = given(inputs, 0), given(inputs, 1).to(given(inputs, 0).device)
    axis = attributes.get("axis", 0) % x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def expand(inputs: Inputs, _: Attributes) -> Tensor:
    """Broadcast both ways: sizes of 1 in the shape keep those of the tensor."""
    x, shape = given(inputs, 0), integers(given(inputs, 1)) or []
    rank = max(x.ndim, len(shape))
    have, wanted = [1] * (rank - x.ndim) + list(x.shape), [1] * (rank - len(shape)) + shape
    return x.expand([mine if size == 1 else size for mine, size in zip(have, wanted, strict=True)])


def split(inputs: Inputs, attributes: Attributes) -> Sequence[Tensor]:
    x, sizes = given(inputs, 0), integers(optional(inputs, 1))
    axis = attributes.get("axis", 0)
    return torch.split(x, sizes or -(-x.shape[axis] // attributes["num_outputs"]), axis)


def pad(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, pads = given(inputs, 0), integers(given(inputs, 1)) or []
    axes = _axes(inputs, attributes, index=3) or list(range(x.ndim))
    sides = {axis % x.ndim: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    last = [sides.get(axis, (0, 0)) for axis in reversed(range(x.ndim))]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(attributes.get("mode", "constant"))
    fill = optional(inputs, 2)
    if mode == "constant":
        return F.pad(x, list(chain(*last)), value=0.0 if fill is None else float(fill))
    if mode is None or any(side != (0, 0) for side in last[x.ndim - 2 :]):
        raise _unsupported(f"Pad in mode {attributes.get('mode')} of batch or channels")
    return F.pad(x, list(chain(*last[: x.ndim - 2])), mode=mode)


def resize(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, sizes, scales = given(inputs, 0), integers(optional(inputs, 3)), optional(inputs, 2)
    if attributes.get("axes"):
        raise _unsupported("Resize with axes")
    if sizes is None:
        sizes = [int(size * scale) for size, scale in zip(x.shape, given([scales], 0).tolist(), strict=True)]
    mode, where = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    if list(sizes[:2]) != list(x.shape[:2]) or x.ndim != 4:
        raise _unsupported("Resize of anything but the height and width of images")
    if mode == "nearest" and where == "asymmetric" and attributes.get("nearest_mode") == "floor":
        return F.interpolate(x, sizes[2:], mode="nearest")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, sizes[2:], mode="bilinear", align_corners=where == "align_corners")
    if mode == "cubic" and attributes.get("cubic_coeff_a") == -0.75 and where in ("half_pixel", "pytorch_half_pixel"):
        return F.interpolate(x, sizes[2:], mode="bicubic", align_corners=False)
    raise _unsupported(f"Resize in mode {mode}, {where}")


def shape(inputs: Inputs, attributes: Attributes) -> Tensor:
    found = list(given(inputs, 0).shape)
    return torch.tensor(found[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def depth_to_space(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, block = given(inputs, 0), attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    parts = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, channels // block**2, height * block, width * block)


def prelu(inputs: Inputs, _: Attributes) -> Tensor:
    x, slope = given(inputs, 0), given(inputs, 1)
    return torch.where(x < 0, x * slope, x)


def gelu(inputs: Inputs, attributes: Attributes) -> Tensor:
    return F.gelu(given(inputs, 0), approximate=attributes.get("approximate", "none"))


def hard_sigmoid(inputs: Inputs, attributes: Attributes) -> Tensor:
    return torch.clamp(given(inputs, 0) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0.0, 1.0)


def leaky_relu(inputs: Inputs, attributes: Attributes) -> Tensor:
    return F.leaky_relu(given(inputs, 0), attributes.get("alpha", 0.01))


def fake_quantize(inputs: Inputs, attributes: Attributes) -> Tensor:
    return quantize_activation(given(inputs, 0), attributes["grid"])


def _unary(run: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, _: run(given(inputs, 0))


def _binary(run: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, _: run(given(inputs, 0), given(inputs, 1))


def _folded(run: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def fold(inputs: Inputs, _: Attributes) -> Tensor:
        found = given(inputs, 0)
        for index in range(1, len(inputs)):
            found = run(found, given(inputs, index))
        return found

    return fold


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() or b.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _where(inputs: Inputs, _: Attributes) -> Tensor:
    chosen, yes, no = (given(inputs, index) for index in range(3))
    return torch.where(chosen.to(yes.device), yes, no.to(yes.device))


def _cast(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes["to"] not in DTYPES:
        raise _unsupported(f"Cast to type {attributes['to']}")
    return given(inputs, 0).to(DTYPES[attributes["to"]])


def _unsupported(what: str) -> StepError:
    return StepError(
        "unknown-operator",
        f"{what} cannot be trained here",
        hint="leave `qat` out for this network, or replace the operator",
    )


OPERATORS: Mapping[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Cast": _cast,
    "Clip": clip,
    "Concat": lambda inputs, attributes: torch.cat([x for x in inputs if x is not None], attributes["axis"]),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": _binary(_divide),
    "Dropout": _unary(lambda x: x),
    "Elu": lambda inputs, attributes: F.elu(given(inputs, 0), attributes.get("alpha", 1.0)),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": lambda inputs, _: (
        given(inputs, 0) * torch.ones(integers(inputs[1]) or [], device=given(inputs, 0).device)
    ),
    "Flatten": lambda inputs, attributes: _flatten(given(inputs, 0), attributes.get("axis", 1)),
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": _over_space(torch.mean),
    "GlobalMaxPool": _over_space(torch.amax),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda x: x),
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LeakyRelu": leaky_relu,
    "Log": _unary(torch.log),
    "LogSoftmax": lambda inputs, attributes: given(inputs, 0).log_softmax(attributes.get("axis", -1)),
    "MatMul": _binary(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _unary(F.mish),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "PRelu": prelu,
    "Pad": pad,
    "Pow": _binary(torch.pow),
    "Range": lambda inputs, _: torch.arange(*(int(given(inputs, index)) for index in range(3))),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _unary(F.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": slice_,
    "Softmax": lambda inputs, attributes: given(inputs, 0).softmax(attributes.get("axis", -1)),
    "Softplus": _unary(F.softplus),
    "Split": split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _unary(torch.tanh),
    "Tile": lambda inputs, _: given(inputs, 0).repeat(integers(inputs[1]) or []),
    "Transpose": lambda inputs, attributes: _transpose(given(inputs, 0), attributes.get("perm")),
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
