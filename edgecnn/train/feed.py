"""Training batches: shuffled, shifted and mirrored by one seeded generator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch  # noqa: TID253  (kernel, reached by a late import)
from torch import Tensor  # noqa: TID253

from edgecnn.train.settings import LabelledImages, TrainSettings

HELD_IN_MEMORY_BYTES = 1 << 29


class Feed:
    """Batches of (float32 NCHW, labels) on `device`.

    Decoded pixels stay in memory up to `HELD_IN_MEMORY_BYTES`; larger sets are decoded again in every epoch.
    """

    def __init__(self, images: LabelledImages, settings: TrainSettings, *, device: torch.device, seed: int) -> None:
        self._images = images
        self._settings = settings
        self._device = device
        self._generator = torch.Generator().manual_seed(seed)
        self._labels = torch.tensor(images.labels)
        prepared = images.preprocessing
        self._mean = torch.tensor(prepared.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(prepared.std, device=device).view(1, -1, 1, 1)
        size = len(images) * prepared.channels * prepared.crop[0] * prepared.crop[1]
        self._held = self._hold() if size <= HELD_IN_MEMORY_BYTES else None

    def __len__(self) -> int:
        """Steps in one epoch: an incomplete last batch is left out, unless it is the only one."""
        return max(1, len(self._images) // self._settings.batch)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the images in a new order."""
        order = torch.randperm(len(self._images), generator=self._generator)
        size = min(self._settings.batch, len(order))
        order = order[: len(self) * size]
        for pixels, chosen in zip(self._pixels(order, size), torch.split(order, size), strict=True):
            yield self._normalise(self._vary(pixels)), self._labels[chosen].to(self._device)

    def _hold(self) -> Tensor:
        return torch.from_numpy(np.concatenate(list(self._images.pixels(self._settings.batch))))

    def _pixels(self, order: Tensor, size: int) -> Iterator[Tensor]:
        if self._held is not None:
            for chosen in torch.split(order, size):
                yield self._held[chosen]
        else:
            for batch in self._images.select(order.tolist()).pixels(size):
                yield torch.from_numpy(batch)

    def _vary(self, pixels: Tensor) -> Tensor:
        """Shift and mirror each image of a uint8 NHWC batch on its own; what moves in from outside is black."""
        count, height, width, _ = pixels.shape
        rows = torch.arange(height).expand(count, height)
        columns = torch.arange(width).expand(count, width)
        if self._settings.flip:
            mirrored = torch.rand(count, 1, generator=self._generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        reach = self._settings.crop_padding
        if reach:
            pixels = torch.nn.functional.pad(pixels, (0, 0, reach, reach, reach, reach))
            shift = torch.randint(2 * reach + 1, (2, count, 1), generator=self._generator)
            rows, columns = rows + shift[0], columns + shift[1]
        if not reach and not self._settings.flip:
            return pixels
        return pixels[torch.arange(count).view(-1, 1, 1), rows.unsqueeze(2), columns.unsqueeze(1)]

    def _normalise(self, pixels: Tensor) -> Tensor:
        """The arithmetic of `probe.normalise`, on the device."""
        x = pixels.to(self._device).permute(0, 3, 1, 2).float()
        return x.div_(255).sub_(self._mean).div_(self._std)
