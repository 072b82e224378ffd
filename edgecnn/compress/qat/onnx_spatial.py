"""ONNX operators over the height and width of images, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from edgecnn.compress.qat.network import Attributes, NodeInputs
from edgecnn.compress.qat.operands import axes_of, integers, optional, required, unsupported
from edgecnn.compress.qat.windows import same_padding, split_padding

CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MAX_POOLS: tuple[Callable[..., Tensor], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE_POOLS: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


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


def conv(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, weight = required(inputs, 0), required(inputs, 1)
    pads, strides, dilations = _window(x, weight.shape[2:], attributes)
    x, padding = split_padding(x, pads, fill=0.0)
    run = CONVOLUTIONS[weight.ndim - 3]
    return run(x, weight, optional(inputs, 2), strides, padding, dilations, attributes.get("group", 1))


def conv_transpose(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, weight = required(inputs, 0), required(inputs, 1)
    pads, strides, dilations = _window(x, weight.shape[2:], attributes)
    rank = weight.ndim - 2
    extra = list(attributes.get("output_padding") or [0] * rank)
    if attributes.get("output_shape"):
        raise unsupported("ConvTranspose with output_shape")
    run = TRANSPOSED[rank - 1]
    full = run(x, weight, optional(inputs, 2), strides, 0, extra, attributes.get("group", 1), dilations)
    for axis in range(rank):
        length = full.shape[2 + axis] - pads[axis] - pads[axis + rank]
        full = full.narrow(2 + axis, pads[axis], length)
    return full


def max_pool(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, kernel = required(inputs, 0), attributes["kernel_shape"]
    pads, strides, dilations = _window(x, kernel, attributes)
    x, padding = split_padding(x, pads, fill=-torch.inf, most=[size // 2 for size in kernel])
    run, ceil = MAX_POOLS[len(kernel) - 1], bool(attributes.get("ceil_mode", 0))
    return run(x, kernel, strides, padding, dilations, ceil)


def average_pool(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, kernel = required(inputs, 0), attributes["kernel_shape"]
    pads, strides, dilations = _window(x, kernel, attributes)
    if any(dilation != 1 for dilation in dilations):
        raise unsupported("AveragePool with dilations")
    run, ceil = AVERAGE_POOLS[len(kernel) - 1], bool(attributes.get("ceil_mode", 0))
    whole = bool(attributes.get("count_include_pad", 0))
    padded, padding = split_padding(x, pads, fill=0.0, most=[size // 2 for size in kernel])
    if padded is x or whole:
        return run(padded, kernel, strides, padding, ceil, whole)
    inside, _ = split_padding(torch.ones_like(x[:1, :1]), pads, fill=0.0, most=[0] * len(kernel))
    return run(padded, kernel, strides, 0, ceil) / run(inside, kernel, strides, 0, ceil)


def pad(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, pads = required(inputs, 0), integers(required(inputs, 1)) or []
    axes = axes_of(inputs, attributes, index=3) or list(range(x.ndim))
    sides = {axis % x.ndim: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    last = [sides.get(axis, (0, 0)) for axis in reversed(range(x.ndim))]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(attributes.get("mode", "constant"))
    fill = optional(inputs, 2)
    if mode == "constant":
        return F.pad(x, list(chain(*last)), value=0.0 if fill is None else float(fill))
    if mode is None or any(side != (0, 0) for side in last[x.ndim - 2 :]):
        raise unsupported(f"Pad in mode {attributes.get('mode')} of batch or channels")
    return F.pad(x, list(chain(*last[: x.ndim - 2])), mode=mode)


def resize(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, sizes, scales = required(inputs, 0), integers(optional(inputs, 3)), optional(inputs, 2)
    if attributes.get("axes"):
        raise unsupported("Resize with axes")
    if sizes is None:
        sizes = [int(size * scale) for size, scale in zip(x.shape, required([scales], 0).tolist(), strict=True)]
    mode, where = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    if list(sizes[:2]) != list(x.shape[:2]) or x.ndim != 4:
        raise unsupported("Resize of anything but the height and width of images")
    if mode == "nearest" and where == "asymmetric" and attributes.get("nearest_mode") == "floor":
        return F.interpolate(x, sizes[2:], mode="nearest")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, sizes[2:], mode="bilinear", align_corners=where == "align_corners")
    if mode == "cubic" and attributes.get("cubic_coeff_a") == -0.75 and where in ("half_pixel", "pytorch_half_pixel"):
        return F.interpolate(x, sizes[2:], mode="bicubic", align_corners=False)
    raise unsupported(f"Resize in mode {mode}, {where}")


def depth_to_space(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    x, block = required(inputs, 0), attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    parts = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, channels // block**2, height * block, width * block)
