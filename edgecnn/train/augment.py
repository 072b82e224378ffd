"""Augmentation of training images: random numbers are drawn for a whole batch, then applied to it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgecnn.train.settings import Augment

TRIES = 10
CROP_RATIO = (3 / 4, 4 / 3)
ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2


@dataclass(frozen=True, slots=True)
class Draws:
    """What chance decided for each image of a batch (N first), whatever process will do the work; None: not varied.

    `crops` are uniform numbers for `crop_box`, (N, TRIES, 4); `shift` is (N, 2) in pixels down and right; `mirrored`
    (N,) bool; `operations` (N,) seeds of RandAugment; `jitter` (N, 3) factors of brightness, contrast and saturation,
    applied in `jitter_order`; `erased` (N, 4) top, left, bottom, right in pixels, an empty box where nothing goes.
    """

    crops: np.ndarray | None = None
    shift: np.ndarray | None = None
    mirrored: np.ndarray | None = None
    operations: np.ndarray | None = None
    jitter: np.ndarray | None = None
    jitter_order: tuple[int, ...] = ()
    erased: np.ndarray | None = None

    def share(self, rank: int, world: int) -> Draws:
        """Every `world`-th image's, from `rank` on."""
        arrays = {
            name: None if (all_of_them := getattr(self, name)) is None else all_of_them[rank::world]
            for name in ("crops", "shift", "mirrored", "operations", "jitter", "erased")
        }
        return Draws(jitter_order=self.jitter_order, **arrays)


def draw(augment: Augment, count: int, size: tuple[int, int], rng: np.random.Generator) -> Draws:
    """Decide how `count` images of `size` (height, width) are varied."""
    reach, strength = augment.crop_padding, augment.color_jitter
    return Draws(
        crops=rng.random((count, TRIES, 4)) if augment.random_resized_crop is not None else None,
        shift=rng.integers(0, 2 * reach + 1, (count, 2)) if reach else None,
        mirrored=rng.random(count) < 0.5 if augment.flip else None,
        operations=rng.integers(0, 1 << 62, count) if augment.randaugment is not None else None,
        jitter=rng.uniform(1 - strength, 1 + strength, (count, 3)) if strength else None,
        jitter_order=tuple(rng.permutation(3).tolist()) if strength else (),
        erased=_draw_erased(augment.random_erasing, count, size, rng) if augment.random_erasing else None,
    )


def crop_box(size: tuple[int, int], least_area: float, draws: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, height, width) in pixels of a random part of an image of `size` (height, width).

    `least_area` is the smallest share of the area, `draws` are (TRIES, 4) uniform numbers in [0, 1). What
    `torchvision.transforms.v2.RandomResizedCrop` does. Source: C. Szegedy et al., Going Deeper with Convolutions, 2015.
    """
    height, width = size
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    for by_area, by_ratio, down, right in draws:
        area = height * width * (least_area + (1 - least_area) * by_area)
        ratio = math.exp(low + (high - low) * by_ratio)
        tall, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < tall <= height and 0 < wide <= width:
            return int(down * (height - tall + 1)), int(right * (width - wide + 1)), tall, wide
    tall, wide = height, width
    if width / height < CROP_RATIO[0]:
        tall = min(height, max(1, round(width / CROP_RATIO[0])))
    elif width / height > CROP_RATIO[1]:
        wide = min(width, max(1, round(height * CROP_RATIO[1])))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def move(pixels: Tensor, draws: Draws, *, reach: int) -> Tensor:
    """Shift by up to `reach` pixels and mirror each image of a uint8 NHWC batch; what moves in is black."""
    if draws.shift is not None:
        count, height, width, channels = pixels.shape
        padded = torch.nn.functional.pad(pixels, (0, 0, reach, reach, reach, reach))
        per_image, per_row, per_column, _ = padded.stride()
        places = 2 * reach + 1
        # Every place a crop can be at, as a view: one indexed copy then takes all crops.
        windows = padded.as_strided(
            (count, places, places, height, width * channels), (per_image, per_row, per_column, per_row, 1)
        )
        down, right = torch.from_numpy(draws.shift).to(pixels.device).unbind(1)
        pixels = windows[torch.arange(count, device=pixels.device), down, right].view(count, height, width, channels)
    if draws.mirrored is not None and draws.mirrored.any():
        turned = torch.from_numpy(np.flatnonzero(draws.mirrored)).to(pixels.device)
        pixels = pixels if draws.shift is not None else pixels.clone()
        pixels[turned] = pixels[turned].flip(2)
    return pixels


def jitter(x: Tensor, draws: Draws, *, color: str) -> Tensor:
    """Brightness, contrast and saturation of float NHWC in [0, 1], each image by its own factors; `x` is changed."""
    if draws.jitter is None:
        return x
    factors = torch.from_numpy(draws.jitter).to(x.device, x.dtype)
    luma = torch.tensor(LUMA[::-1] if color == "BGR" else LUMA, device=x.device, dtype=x.dtype)
    for which in draws.jitter_order:
        factor = factors[:, which].view(-1, 1, 1, 1)
        if which == 0:
            x.mul_(factor)
        elif which == 1:
            means = x.mean((1, 2))
            grey = means if color == "L" else (means * luma).sum(1)
            x.mul_(factor).add_((1 - factor) * grey.view(-1, 1, 1, 1))
        elif color != "L":  # grey has no saturation
            # Channel by channel: operations whose innermost run is three values long take many times longer.
            planes = x.unbind(3)
            towards = sum(plane * weight for plane, weight in zip(planes, luma, strict=True)) * (1 - factor[..., 0])
            for plane in planes:
                plane.mul_(factor[..., 0]).add_(towards)
        x.clamp_(0, 1)
    return x


def erase(x: Tensor, draws: Draws) -> Tensor:
    """Set a rectangle of normalised images to zero, which is the mean colour; `x` (N, C, H, W) itself is changed.

    Source: Z. Zhong et al., Random Erasing Data Augmentation, 2020, arXiv:1708.04896.
    """
    if draws.erased is None:
        return x
    top, left, bottom, right = torch.from_numpy(draws.erased).to(x.device).view(-1, 4, 1).unbind(1)
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[2:])
    down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return x.masked_fill_((down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1), 0.0)


def _draw_erased(share: float, count: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = size
    erased = rng.random(count) < share
    area = rng.uniform(*ERASED_AREA, (count, TRIES)) * height * width
    ratio = np.exp(rng.uniform(math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1]), (count, TRIES)))
    tall, wide = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (tall < height) & (wide < width) & (tall > 0) & (wide > 0)
    first = fits.argmax(1)
    every = np.arange(count)
    tall, wide = tall[every, first], wide[every, first]
    top = np.floor(rng.random(count) * (height - tall + 1))
    left = np.floor(rng.random(count) * (width - wide + 1))
    boxes = np.stack([top, left, top + tall, left + wide], 1).astype(np.int64)
    boxes[~(erased & fits.any(1))] = 0
    return boxes
