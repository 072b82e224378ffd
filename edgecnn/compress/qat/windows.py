"""Padding of convolution and pooling windows, as the file formats define it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch.nn.functional as F
from torch import Tensor


def same_padding(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """(before, after) by axis so that a window at every stride-th place is whole; the odd one goes after."""
    sides = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        missing = max(0, (-(-size // stride) - 1) * stride + dilation * (width - 1) + 1 - size)
        sides.append((missing // 2, missing - missing // 2))
    return sides


def split_padding(
    x: Tensor, pads: Sequence[int], *, fill: float, most: Sequence[int] | None = None
) -> tuple[Tensor, list[int]]:
    """(`x` of layout N, C, space..., padding by axis left to the operator): what is equal on both sides and at most
    `most` the operator does itself, all else is done here. `pads` are all befores, then all afters."""
    rank = len(pads) // 2
    before, after = list(pads[:rank]), list(pads[rank:])
    if before == after and (most is None or all(p <= m for p, m in zip(before, most, strict=True))):
        return x, before
    sides = [(b, a) for b, a in zip(reversed(before), reversed(after), strict=True)]
    return F.pad(x, list(chain(*sides)), value=fill), [0] * rank
