"""Decoding and augmenting images to 8-bit pixels: the same code runs in this process and in workers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import LabelledImages
from edgecnn.data import pixels
from edgecnn.data.images import decode, in_order, over_files, reading
from edgecnn.train.augment import Draws, crop_box, move
from edgecnn.train.settings import Augment

SAMPLED_SIZES = 128
# A JPEG is decoded at a half, a quarter or an eighth where the crop still has this many times the pixels it needs per
# edge: Pillow's documentation of `reducing_gap` calls 2 "almost indistinguishable" from resampling all pixels.
GAP = 2.0


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One batch to make: which images of the set (N,), their files, and what chance decided for them."""

    indices: np.ndarray
    paths: tuple[str, ...]
    draws: Draws


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """Decoded images in one block of memory, uint8, one after the other as HWC; `shapes` are (images, 3).

    `block` is (images, H, W, C) where all are alike, else flat.
    """

    block: Tensor
    shapes: np.ndarray
    starts: np.ndarray

    def image(self, index: int) -> np.ndarray:
        """One image, uint8 HWC; a view."""
        start, shape = self.starts[index], self.shapes[index]
        image: np.ndarray = self.block.view(-1).numpy()[start : start + shape.prod()].reshape(shape)
        return image

    def share(self) -> bool:
        """Make the block readable by other processes without a copy each; False where the system has no room for it."""
        try:
            self.block.share_memory_()  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Makes the pixels of a task: decoded, cropped, moved, and varied by random operations.

    `held` are the images as the network takes them, or whole where `augment` crops them at random; None reads files.
    """

    preprocessing: Preprocessing
    augment: Augment
    held: DecodedImages | None = None

    @property
    def by_image(self) -> bool:
        """Whether there is work to do image by image, which other processes could do."""
        return self.held is None or self.augment.random_resized_crop is not None or self.augment.randaugment is not None

    def pixels(self, task: BatchTask) -> Tensor:
        """The batch, uint8 (N, H, W, C). Raises InputError naming a file that cannot be decoded."""
        if self.held is not None and task.draws.crops is None:
            block = self.held.block
            return self.vary(block[torch.from_numpy(task.indices).to(block.device)], task.draws)
        return self.vary(stack([self.image(task, row) for row in range(len(task.indices))]), task.draws)

    def image(self, task: BatchTask, row: int) -> np.ndarray:
        """The task's image number `row`, decoded and cropped: uint8 HWC."""
        crops = task.draws.crops
        if crops is None:
            return decode(Path(task.paths[row]), self.preprocessing.to_dict())
        least = self.augment.random_resized_crop or 1.0
        if self.held is None:
            return _part_of_file(task.paths[row], self.preprocessing, least, crops[row])
        image = self.held.image(int(task.indices[row]))
        size = (image.shape[0], image.shape[1])
        return _part(_to_image(image), crop_box(size, least, crops[row]), self.preprocessing, whole=size)

    def vary(self, batch: Tensor, draws: Draws) -> Tensor:
        """Shifted, mirrored, and with random operations: uint8 (N, H, W, C)."""
        batch = move(batch, draws, reach=self.augment.crop_padding)
        if draws.operations is None:
            return batch
        swap = self.preprocessing.color == "BGR"
        before = torch.default_generator.get_state()
        operate = _random_operations(self.augment.randaugment or 0)
        try:
            varied = []
            for image, seed in zip(batch.numpy(), draws.operations.tolist(), strict=True):
                # The transform draws from torch's global generator only.
                torch.default_generator.manual_seed(seed)
                done = _from_image(operate(_to_image(image[:, :, ::-1] if swap else image)))
                varied.append(done[:, :, ::-1] if swap else done)
        finally:
            torch.default_generator.set_state(before)
        return stack(varied)


def stack(images: Sequence[np.ndarray]) -> Tensor:
    """Images of one size as one batch."""
    return torch.from_numpy(np.stack(images))


def decode_all(images: LabelledImages, *, whole: bool, limit: int | None) -> DecodedImages | None:
    """Decode all images into memory; None where that takes more than `limit` bytes.

    `whole` keeps them as photographed, else they are resized and cropped as the preprocessing says. Raises InputError
    naming a file that cannot be decoded, StepError when there is no memory.
    """
    prepared = images.preprocessing
    count = len(images)
    if whole:
        shapes = _shapes(images.paths, prepared, limit)
    else:
        shapes = np.tile((*prepared.crop, prepared.channels), (count, 1)).astype(np.int64)
    if shapes is None or (limit is not None and int(shapes.prod(1).sum()) > limit):
        return None
    lengths = shapes.prod(1)
    ends = lengths.cumsum()
    try:
        block = torch.empty(int(ends[-1]), dtype=torch.uint8)
    except RuntimeError as error:
        raise StepError(
            "out-of-memory",
            f"{count} decoded images do not fit into memory",
            why=f"they take {ends[-1] / 1e9:.1f} GB",
            hint="set cache to auto or off (--set cache=off)",
        ) from error
    alike = bool((shapes == shapes[0]).all())
    held = DecodedImages(block.view(count, *shapes[0].tolist()) if alike else block, shapes, ends - lengths)
    cropped = (image for batch in images.pixels(256) for image in batch)
    for index, image in enumerate(_photographs(images.paths, prepared) if whole else cropped):
        held.image(index)[...] = image
    return held


def _photographs(paths: Sequence[Path], prepared: Preprocessing) -> Iterable[np.ndarray]:
    def decode(path: Path) -> np.ndarray:
        with reading(path), pixels.opened(path) as image:
            image.load()
            return _from_image(pixels.to_eight_bit(pixels.upright(image), _mode(prepared)))

    return in_order(decode, paths)


def _shapes(paths: Sequence[Path], prepared: Preprocessing, limit: int | None) -> np.ndarray | None:
    """(images, 3) of the upright photographs, from their headers; None where a sample shows that they are too large."""

    def shape(path: Path) -> tuple[int, int, int]:
        with reading(path), pixels.opened(path) as image:
            return (*_upright_size(image), prepared.channels)

    if limit is not None and len(paths) > SAMPLED_SIZES:
        sample = np.array(list(over_files(shape, paths[:: len(paths) // SAMPLED_SIZES])), np.int64)
        if sample.prod(1).mean() * len(paths) > limit:
            return None
    return np.array(list(over_files(shape, paths)), np.int64)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if pixels.orientation(image) >= 5 else (height, width)


def _part_of_file(path: str, prepared: Preprocessing, least_area: float, draws: np.ndarray) -> np.ndarray:
    """A random part of the photograph at the network's size."""
    with reading(Path(path)), pixels.opened(path) as image:
        if image.format not in ("JPEG", "MPO"):
            image.load()  # only then does Pillow know a PNG's orientation
        size = _upright_size(image)
        box = crop_box(size, least_area, draws)
        shrink = min(box[2] / prepared.crop[0], box[3] / prepared.crop[1]) / GAP
        if shrink >= 2 and image.format in ("JPEG", "MPO"):
            image.draft(None, (int(image.size[0] / shrink), int(image.size[1] / shrink)))
        image.load()
        upright = pixels.to_eight_bit(pixels.upright(image), _mode(prepared))
        return _part(upright, box, prepared, whole=size)


def _part(
    image: Image.Image, box: tuple[int, int, int, int], prepared: Preprocessing, *, whole: tuple[int, int]
) -> np.ndarray:
    """What `torchvision.transforms.v2.functional.resized_crop` gives, in the network's order of channels.

    `box` counts in pixels of the photograph of size `whole` (height, width), of which `image` may be a reduction.
    """
    top, left, height, width = box
    corners: Any = (left, top, left + width, top + height)
    size, resampling = (prepared.crop[1], prepared.crop[0]), pixels.RESAMPLING[prepared.interpolation]
    if image.size == (whole[1], whole[0]):
        pixels_of_part = _from_image(image.crop(corners).resize(size, resampling))
    else:
        edges = zip(corners, image.size * 2, (whole[1], whole[0]) * 2, strict=True)
        part: Any = tuple(min(corner * reduced / full, reduced) for corner, reduced, full in edges)
        pixels_of_part = _from_image(image.resize(size, resampling, box=part))
    return pixels_of_part[:, :, ::-1] if prepared.color == "BGR" else pixels_of_part


def _mode(prepared: Preprocessing) -> str:
    return "L" if prepared.color == "L" else "RGB"


def _to_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array))


def _from_image(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


@functools.cache
def _random_operations(magnitude: int) -> Any:
    """Two of fourteen operations. Source: E. Cubuk et al., RandAugment, 2019, arXiv:1909.13719."""
    from torchvision.transforms import v2

    return v2.RandAugment(num_ops=2, magnitude=magnitude)
