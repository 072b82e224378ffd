"""Fake quantization: rounding that passes gradients on. It computes in float what the integer file will compute.

Straight-through estimator: Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013,
arXiv:1308.3432. In training: B. Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, CVPR 2018, arXiv:1712.05877.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgecnn.formats.onnx.qdq import SMALLEST_SCALE
from edgecnn.quantize.ranges import Grid


@dataclass(frozen=True, slots=True)
class WeightGrid:
    """How a layer's weights are quantized: symmetric, one scale per index of `axis`, codes within +-`limit`.

    `input_scale` is the step of the layer's input where biases are integers on `input scale * weight scale`, else
    None; `room` is the largest bias code.
    """

    axis: int
    limit: int
    input_scale: float | None
    room: float


def quantize_activation(x: Tensor, grid: Grid) -> Tensor:
    """`x` on the grid; the gradient passes where `x` lies within its ends and is zero outside."""
    return torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero_point, grid.low_code, grid.high_code)


def quantize_weight(weight: Tensor, bias: Tensor | None, grid: WeightGrid) -> tuple[Tensor, Tensor]:
    """(`weight` on its grid, scales float32 by channel), by the arithmetic of the writers: `max|w| / limit`, and never
    less than what keeps the bias of a channel without weights within `room`."""
    others = [index for index in range(weight.ndim) if index != grid.axis]
    with torch.no_grad():
        scales = weight.abs().amax(dim=others).double() / grid.limit
        if bias is not None and grid.input_scale is not None:
            scales = torch.maximum(scales, bias.abs().double().reshape(-1) / (grid.input_scale * grid.room))
        scales = scales.clamp(min=SMALLEST_SCALE).float()
        shape = [-1 if index == grid.axis else 1 for index in range(weight.ndim)]
    return _StraightThrough.apply(weight, scales.view(shape), grid.limit), scales


def quantize_bias(bias: Tensor, scales: Tensor) -> Tensor:
    """`bias` on the INT32 grid of `scales`, float64 by channel."""
    quantized: Tensor = _StraightThrough.apply(bias, scales.view_as(bias), 2**31 - 1)
    return quantized


class _StraightThrough(torch.autograd.Function):
    """Round to codes of `scale` within +-`limit`; backwards the identity within them, zero beyond."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, limit: int) -> Tensor:
        codes = (values / scale).round()
        ctx.save_for_backward(codes.abs() <= limit)
        return (codes.clamp(-limit, limit) * scale).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (within,) = ctx.saved_tensors
        return gradients[0] * within, None, None
