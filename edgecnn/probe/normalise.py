"""Normalisation of 8-bit pixels: the same arithmetic in training, calibration and on the board."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """`(pixels / 255 - mean) / std`: uint8 NHWC to contiguous float32 NCHW.

    `mean` and `std` are per channel, on values in [0, 1]. Every operation is rounded to float32, in this order, so the
    result is bit-identical to torchvision's `to_tensor` followed by `normalize`.
    """
    x = pixels.astype(np.float32)
    x /= np.float32(255)
    x -= np.asarray(mean, np.float32)
    x /= np.asarray(std, np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
