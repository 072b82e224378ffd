"""Validation of a network on labelled images: mean loss and top-1 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from edgecnn.core.errors import InputError
from edgecnn.core.stage import LabelledImages

BATCH = 256
HELD_IN_MEMORY_BYTES = 1 << 29


def measure_accuracy(module: nn.Module, images: LabelledImages, *, batch: int = BATCH) -> float:
    """Top-1 accuracy in [0, 1] of `module` where it is, in float32; its mode is as before afterwards."""
    return measure(module, images, batch=batch)[1]


def measure(module: nn.Module, images: LabelledImages, *, batch: int = BATCH) -> tuple[float, float]:
    """(mean cross-entropy, top-1 accuracy in [0, 1]) of `module` where it is, in float32.

    Its mode is as before afterwards. Raises InputError for images without labels.
    """
    return Validator(images, batch=batch, hold=False)(module)


class Validator:
    """`measure` again and again on the same images: with `hold` their pixels stay in memory, up to 0.5 GB."""

    def __init__(self, images: LabelledImages, *, batch: int = BATCH, hold: bool = True) -> None:
        labels = require_labels(images)
        self._labels = torch.tensor(labels)
        self._images = images
        self._batch = batch
        prepared = images.preprocessing
        self._mean = torch.tensor(prepared.mean).view(1, -1, 1, 1)
        self._std = torch.tensor(prepared.std).view(1, -1, 1, 1)
        size = len(images) * prepared.channels * prepared.crop[0] * prepared.crop[1]
        self._hold = hold and size <= HELD_IN_MEMORY_BYTES
        self._cached_pixels: list[np.ndarray] = []

    def __call__(self, module: nn.Module, *, between: Callable[[], None] = lambda: None) -> tuple[float, float]:
        """`between` is called after every batch, and may raise to end it."""
        device, mode = next(module.parameters()).device, module.training
        module.eval()
        lost = torch.zeros((), dtype=torch.float64, device=device)
        right, done = torch.zeros_like(lost), 0
        try:
            with torch.no_grad():
                for x in self._batches(device):
                    labels = self._labels[done : done + len(x)].to(device, non_blocking=True)
                    logits = module(x).float()
                    lost += nn.functional.cross_entropy(logits, labels, reduction="sum")
                    right += (logits.argmax(1) == labels).sum()
                    done += len(x)
                    between()
        finally:
            module.train(mode)
        return float(lost) / done, float(right) / done

    def _batches(self, device: torch.device) -> Iterator[Tensor]:
        """The arithmetic of `probe.normalise`, on the device."""
        mean, std = self._mean.to(device), self._std.to(device)
        for pixels in self._pixels():
            x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()
            yield x.div_(255).sub_(mean).div_(std)

    def _pixels(self) -> Iterator[np.ndarray]:
        if self._cached_pixels:
            yield from self._cached_pixels
            return
        held = []
        for pixels in self._images.pixels(self._batch):
            if self._hold:
                held.append(pixels)
            yield pixels
        self._cached_pixels = held


def require_labels(images: LabelledImages) -> tuple[int, ...]:
    """The labels. Raises InputError when there are none, or no images."""
    if not len(images):
        raise InputError("no-images", "there are no images to train on")
    if images.labels is None:
        raise InputError(
            "no-labels", "training needs labels", why="nobody knows the classes of these images", hint="give --data DIR"
        )
    return tuple(images.labels)
