"""Feed of training batches: what an epoch gives depends on the seed and the number of the epoch alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edgecnn.core.errors import InputError
from edgecnn.core.stage import LabelledImages
from edgecnn.train import augment, mixing, sampling
from edgecnn.train.decoding import BatchTask, DecodedImages, PixelSource, decode_all
from edgecnn.train.loading import InProcessLoader, Loader, WorkerLoader, worker_count
from edgecnn.train.settings import Feed, TrainSettings
from edgecnn.train.validation import label_tensor

HELD_IN_MEMORY_BYTES = 1 << 29
PURPOSES = ("order", "vary", "mix")


@dataclass(slots=True)
class FedBatch:
    """Satisfies `settings.Batch`. `indices` stay on the CPU."""

    x: Tensor
    labels: Tensor | None
    targets: Tensor | None
    indices: Tensor


def open_feed(
    images: LabelledImages,
    settings: TrainSettings,
    *,
    device: torch.device,
    seed: int,
    rank: int = 0,
    world: int = 1,
    classes: int | None = None,
) -> Feed:
    """Batches of `images` on `device`, `settings.batch` for each of `world` processes.

    `rank` takes every `world`-th image of a batch that all processes share, so they see together what one process with
    a batch of `world` times the size would (mixing apart). `classes` are the columns of soft targets: the largest label
    plus one unless given. Neither the number of workers nor the cache changes what an epoch gives, but where JPEGs
    much larger than their random crop are decoded at a fraction. Raises InputError without images, for fewer images
    than processes, where sampling needs labels, and naming a file that cannot be decoded; StepError when a worker dies.
    """
    if len(images) < world:
        raise _too_few(len(images), world)
    sampling.require_labels(images.labels, settings.sampling)
    source = PixelSource(images.preprocessing, settings.augment, _held(images, settings))
    if device.type == "cuda" and source.held is not None and not source.by_image:
        source = _on_device(source, device)
    loader = _loader(source, settings, device=device, images=len(images), world=world)
    return ImageFeed(images, settings, loader, device=device, seed=seed, place=(rank, world), classes=classes)


class ImageFeed:
    """Satisfies `settings.Feed`."""

    def __init__(
        self,
        images: LabelledImages,
        settings: TrainSettings,
        loader: Loader,
        *,
        device: torch.device,
        seed: int,
        place: tuple[int, int],
        classes: int | None,
    ) -> None:
        self.waited_s = 0.0
        self._images = images
        self._settings = settings
        self._loader = loader
        self._device = device
        self._seed = seed & ((1 << 64) - 1)
        self._rank, self._world = place
        self._labels = None if images.labels is None else label_tensor(images.labels)
        self._classes = classes or (0 if self._labels is None else int(self._labels.max()) + 1)
        self._mean, self._std = self._row(images.preprocessing.mean), self._row(images.preprocessing.std)
        # A tensor, for CUDA divides by a Python number as a multiplication by its rounded inverse.
        self._levels = torch.full((1,), 255.0, device=device)

    def __len__(self) -> int:
        """Batches in one epoch: an incomplete last batch is left out, unless it is the only one."""
        return max(1, len(self._images) // (self._settings.batch * self._world))

    def epoch(self, number: int) -> Iterator[FedBatch]:
        """One pass over the images in the order and with the variations of epoch `number`; one pass at a time."""
        self.waited_s = 0.0
        with closing(self._loader.batches(self._tasks(number))) as made:
            for step in range(len(self)):
                started = time.perf_counter()
                task, pixels = next(made)
                batch = self._batch(task, pixels, self._rng(number, step, "mix"))
                self.waited_s += time.perf_counter() - started
                yield batch

    def close(self) -> None:
        """End worker processes; the feed gives no more epochs."""
        self._loader.close()

    def _tasks(self, number: int) -> Iterator[BatchTask]:
        batches = sampling.order(
            len(self._images),
            self._images.labels,
            sampling=self._settings.sampling,
            batch=self._settings.batch * self._world,
            rng=self._rng(number, 0, "order"),
        )
        paths = self._images.paths
        for step, whole in enumerate(batches):
            draws = augment.draw(
                self._settings.augment, len(whole), self._images.preprocessing.crop, self._rng(number, step, "vary")
            )
            indices = whole[self._rank :: self._world].copy()
            files = tuple(os.fspath(paths[index]) for index in indices)
            yield BatchTask(indices, files, draws.share(self._rank, self._world))

    def _batch(self, task: BatchTask, pixels: Tensor, rng: np.random.Generator) -> FedBatch:
        """The arithmetic of `probe.normalise`, on the device; what is varied in real numbers is varied here."""
        how, prepared, indices = self._settings.augment, self._images.preprocessing, torch.from_numpy(task.indices)
        count, height, width, channels = pixels.shape
        # Row by row: operations whose innermost run is a pixel's three values take many times longer.
        rows = self._moved(pixels).float().view(count, height, width * channels).div_(self._levels)
        rows = augment.jitter(rows.view(pixels.shape), task.draws, color=prepared.color).view(rows.shape)
        x = rows.sub_(self._mean).div_(self._std).view(pixels.shape).permute(0, 3, 1, 2)
        x = augment.erase(x, task.draws)
        labels = targets = None if self._labels is None else self._moved(self._labels[indices])
        mix = mixing.draw_mix(how, prepared.crop, rng)
        if mix is not None:
            x = mixing.mix_images(x, mix)
            targets = None if labels is None else mixing.mix_labels(labels, self._classes, mix)
        return FedBatch(x, labels, targets, indices)

    def _moved(self, tensor: Tensor) -> Tensor:
        """On the device; from pinned memory, so that the copy does not wait for the work before it."""
        if self._device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _rng(self, number: int, step: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, number, step, PURPOSES.index(purpose)])

    def _row(self, values: tuple[float, ...]) -> Tensor:
        """One value per channel, as often as an image's row has pixels."""
        return torch.tensor(values, device=self._device).repeat(self._images.preprocessing.crop[1])


def _held(images: LabelledImages, settings: TrainSettings) -> DecodedImages | None:
    if settings.cache == "off":
        return None
    whole = settings.augment.random_resized_crop is not None
    return decode_all(images, whole=whole, limit=None if settings.cache == "on" else HELD_IN_MEMORY_BYTES)


def _on_device(source: PixelSource, device: torch.device) -> PixelSource:
    """Held images move to the accelerator, where they are shifted and mirrored in microseconds."""
    held = source.held
    if held is None or held.block.nbytes > HELD_IN_MEMORY_BYTES:
        return source
    return replace(source, held=replace(held, block=held.block.to(device)))


def _loader(source: PixelSource, settings: TrainSettings, *, device: torch.device, images: int, world: int) -> Loader:
    count = worker_count(settings.workers, device=device, images=images * settings.epochs // world, world=world)
    if not count or not source.by_image or (source.held is not None and not source.held.share()):
        return InProcessLoader(source)
    return WorkerLoader(source, count, pin_memory=device.type == "cuda")


def _too_few(images: int, world: int) -> InputError:
    if not images:
        return InputError("no-images", "there are no images to train on", hint="give a folder with images: --data DIR")
    return InputError(
        "too-few-images",
        f"{images} images cannot be shared by {world} processes",
        hint=f"train in {images} processes or fewer (torchrun --nproc-per-node)",
    )
