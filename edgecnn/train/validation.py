"""Validation of a network on labelled images: mean loss and the task's metric, for a classifier top-1 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgecnn.core.errors import InputError
from edgecnn.core.stage import LabelledImages
from edgecnn.data.splits import are_classes
from edgecnn.train.task_training import CLASSIFICATION, TaskTraining

BATCH = 256
HELD_IN_MEMORY_BYTES = 1 << 29


def measure_accuracy(module: nn.Module, images: LabelledImages, *, batch: int = BATCH) -> float:
    """Top-1 accuracy in [0, 1] of `module` where it is, in float32; its mode is as before afterwards."""
    return measure(module, images, batch=batch)[1]


def measure(
    module: nn.Module, images: LabelledImages, *, training: TaskTraining = CLASSIFICATION, batch: int = BATCH
) -> tuple[float, float]:
    """(mean loss, the task's metric) of `module` where it is, in float32: cross-entropy and top-1 accuracy in [0, 1]
    unless `training` is another task's.

    Its mode is as before afterwards. Raises InputError for images without labels.
    """
    return Validator(images, training, batch=batch, hold=False)(module)


class Validator:
    """`measure` again and again on the same images: with `hold` their pixels stay in memory, up to 0.5 GB."""

    def __init__(
        self, images: LabelledImages, training: TaskTraining, *, batch: int = BATCH, hold: bool = True
    ) -> None:
        self._labels = label_tensor(require_labels(images))
        self._training = training
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
        meter, done = self._training.meter(device), 0
        try:
            with torch.no_grad():
                for x in self._batches(device):
                    labels = self._labels[done : done + len(x)].to(device, non_blocking=True)
                    meter.add(module(x).float(), labels)
                    done += len(x)
                    between()
        finally:
            module.train(mode)
        return meter.figures()

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


def label_tensor(labels: Sequence[Any]) -> Tensor:
    """Labels as a tensor: int64 where they are classes, else float32."""
    return torch.tensor(labels, dtype=torch.int64 if are_classes(labels) else torch.float32)


def require_labels(images: LabelledImages) -> tuple[Any, ...]:
    """The labels. Raises InputError when there are none, or no images."""
    if not len(images):
        raise InputError("no-images", "there are no images to train on")
    if images.labels is None:
        raise InputError(
            "no-labels", "training needs labels", why="nobody knows the classes of these images", hint="give --data DIR"
        )
    return tuple(images.labels)
