"""Resizing for TFLite: written with indices where the converter's own operator takes other pixels than PyTorch.

litert-torch writes nearest resizing as RESIZE_NEAREST_NEIGHBOR with half-pixel centres, which is PyTorch's only where
the factor is whole; and it leaves out the factor that `F.interpolate(scale_factor=1.5)` samples by, and takes
input / output size in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

Factors = tuple[float, float] | None
"""What the height and the width are multiplied by, where the caller gave factors that decide where it samples."""


class ExactResize(TorchFunctionMode):
    """While it is entered, `F.interpolate` is traced as PyTorch computes it, whatever the converter makes of it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        exact = exact_resize(*args, **(kwargs or {})) if func is interpolate else None
        return func(*args, **(kwargs or {})) if exact is None else exact


def exact_resize(  # noqa: PLR0917 - the arguments of F.interpolate, in its order
    image: torch.Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> torch.Tensor | None:
    """`image` (N, C, H, W) resized as `F.interpolate` does; None where the converter's operator takes the same pixels,
    or where this is not about nearest and bilinear resizing."""
    if image.ndim != 4 or mode not in ("nearest", "bilinear") or align_corners or antialias:
        return None
    before = (int(image.shape[2]), int(image.shape[3]))
    after, factors = _sizes(before, size, scale_factor)
    if recompute_scale_factor:
        factors = None
    steps = [torch_step(before[axis], after[axis], factors[axis] if factors else None) for axis in (0, 1)]
    if mode == "bilinear":
        usual = [torch_step(before[axis], after[axis], None) for axis in (0, 1)]
        return None if steps == usual else _bilinear(image, after, steps)
    rows = [nearest_pixels(old, new, step) for old, new, step in zip(before, after, steps, strict=True)]
    if all(found == _half_pixel(old, new) for found, old, new in zip(rows, before, after, strict=True)):
        return None
    for axis, pixels in enumerate(rows, start=2):
        image = image.index_select(axis, torch.tensor(pixels))
    return image


def _sizes(
    before: tuple[int, int], size: int | Sequence[int] | None, scale_factor: float | Sequence[float] | None
) -> tuple[tuple[int, int], Factors]:
    """(height, width) afterwards, and the factors where they were given."""
    if scale_factor is None:
        given = [size, size] if isinstance(size, int) else list(size or before)
        return (int(given[0]), int(given[1])), None
    wanted = [scale_factor] * 2 if isinstance(scale_factor, (int, float)) else list(scale_factor)
    factors = (float(wanted[0]), float(wanted[1]))
    return (math.floor(before[0] * factors[0]), math.floor(before[1] * factors[1])), factors


def torch_step(before: int, after: int, factor: float | None) -> np.float32:
    """How far PyTorch goes in the input, in pixels, from one output pixel to the next.

    Source: ATen/native/UpSample.h, `compute_scales_value`.
    """
    step: np.float32 = np.float32(1.0 / factor) if factor else np.float32(np.float32(before) / np.float32(after))
    return step


def nearest_pixels(before: int, after: int, step: np.float32) -> list[int]:
    """The input pixel that each output pixel is a copy of. Source: ATen/native/UpSample.h, `nearest_idx`."""
    if after == 2 * before:
        return [place // 2 for place in range(after)]
    if after == before:
        return [*range(after)]
    return [min(int(np.float32(place) * step), before - 1) for place in range(after)]


def _half_pixel(before: int, after: int) -> list[int]:
    """The same for RESIZE_NEAREST_NEIGHBOR as the converter writes it."""
    step = np.float32(before) / np.float32(after)
    return [min(int((np.float32(place) + np.float32(0.5)) * step), before - 1) for place in range(after)]


def _bilinear(image: torch.Tensor, after: tuple[int, int], steps: Sequence[np.float32]) -> torch.Tensor:
    """Between the two nearest rows, then between the two nearest columns."""
    for axis, (length, step) in enumerate(zip(after, steps, strict=True), start=2):
        last = int(image.shape[axis]) - 1
        places = np.maximum((np.arange(length, dtype=np.float32) + 0.5) * step - np.float32(0.5), 0.0)
        low = np.minimum(np.floor(places).astype(np.int64), last)
        high, share = np.minimum(low + 1, last), (places - low).astype(np.float32)
        weight = torch.tensor(share.tolist()).reshape([-1, 1] if axis == 2 else [-1])
        first, second = (image.index_select(axis, torch.tensor(found.tolist())) for found in (low, high))
        image = first * (1.0 - weight) + second * weight
    return image
