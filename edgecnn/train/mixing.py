"""MixUp and CutMix: two images in one, with targets in proportion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgecnn.train.settings import Augment


@dataclass(frozen=True, slots=True)
class Mix:
    """Each image with the one before it in the batch: `share` of its own stays.

    `box` (top, left, bottom, right) in pixels is what the other image covers; None blends the whole image.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(augment: Augment, size: tuple[int, int], rng: np.random.Generator) -> Mix | None:
    """How one batch of images of `size` (height, width) is mixed; None where mixing is off.

    Sources: H. Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018, arXiv:1710.09412; S. Yun et al., CutMix,
    2019, arXiv:1905.04899 (the share is that of the pixels after the box is cut at the border).
    """
    if not augment.mixup and not augment.cutmix:
        return None
    cut = rng.random() < 0.5 if augment.mixup and augment.cutmix else bool(augment.cutmix)
    alpha = augment.cutmix if cut else augment.mixup
    share = float(rng.beta(alpha, alpha))
    if not cut:
        return Mix(share)
    height, width = size
    reach = 0.5 * (1.0 - share) ** 0.5
    middle = rng.random(2) * (height, width)
    top, bottom = (int(np.clip(middle[0] + side * reach * height, 0, height)) for side in (-1, 1))
    left, right = (int(np.clip(middle[1] + side * reach * width, 0, width)) for side in (-1, 1))
    covered = (bottom - top) * (right - left) / (height * width)
    return Mix(1.0 - covered, (top, left, bottom, right))


def mix_images(x: Tensor, mix: Mix) -> Tensor:
    """`x` (N, C, H, W) mixed; `x` itself is changed."""
    other = x.roll(1, 0)
    if mix.box is None:
        return x.mul_(mix.share).add_(other, alpha=1.0 - mix.share)
    top, left, bottom, right = mix.box
    x[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return x


def mix_labels(labels: Tensor, classes: int, mix: Mix) -> Tensor:
    """Soft targets of mixed images, float32 (N, classes), each row with sum 1."""
    own = torch.nn.functional.one_hot(labels, classes).float()
    return own.mul(mix.share).add_(own.roll(1, 0), alpha=1.0 - mix.share)
