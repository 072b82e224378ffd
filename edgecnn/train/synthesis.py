"""Synthetic calibration images, for want of data: optimized until a network's batch-norm layers see the statistics they
stored.

Source: Y. Cai et al., ZeroQ: A Novel Zero Shot Quantization Framework, CVPR 2020, arXiv:2001.00281.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgecnn.core.events import Listener, Progress, ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Model
from edgecnn.probe.normalise import normalise

STEP = "synthesise"
BATCH = 16
STEPS = 40
FEWEST_STEPS = 12
FEWEST_IMAGES = 8
LEARNING_RATE = 0.1
# Work is planned from the network's size, so the same seed makes the same images on a fast machine and a slow one:
# forward and backward passes over this many multiply-accumulates are some twenty seconds on two cores.
MULTIPLY_ACCUMULATES = 6e11
PASSES = 3
# Only where the plan is far off (depthwise convolutions on a very slow machine) does the clock stop it.
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class SyntheticImages:
    """Images held as uint8 NHWC; satisfies `core.stage.Images` with no labels. `notes` say how they were made."""

    stored: np.ndarray
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self))))

    @property
    def labels(self) -> None:
        return None

    @property
    def digest(self) -> str:
        """sha256 over the pixels and the preprocessing."""
        facts = json.dumps([list(self.stored.shape), self.preprocessing.to_dict()], sort_keys=True)
        return hashlib.sha256(facts.encode() + self.stored.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.stored)

    def take(self, count: int) -> SyntheticImages:
        """The first `count` images."""
        return SyntheticImages(self.stored[: max(count, 0)], self.preprocessing, self.notes)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, uint8 NHWC."""
        if size < 1:
            raise ValueError(f"a batch needs at least one image, not {size}")
        for start in range(0, len(self), size):
            yield self.stored[start : start + size].copy()

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, float32 NCHW, normalised."""
        for batch in self.pixels(size):
            yield normalise(batch, self.preprocessing.mean, self.preprocessing.std)


def images_from_batch_norm(
    model: Model, *, count: int, preprocessing: Preprocessing, seed: int = 0, listener: Listener = ignore
) -> SyntheticImages:
    """Make up to `count` images on the CPU whose batch-norm statistics match those stored in `model`.

    Large networks get fewer images and steps, and one without batch-norm statistics gets Gaussian noise: `notes` say
    so.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    module = model.module().eval().requires_grad_(False)
    shape = (preprocessing.channels, *preprocessing.crop)
    generator = torch.Generator().manual_seed(seed)
    layers = _batch_norms(module)
    if not layers:
        noise = torch.randn((count, *shape), generator=generator)
        note = f"{count} images of Gaussian noise: the network has no batch-norm statistics to match"
        return SyntheticImages(_to_pixels(noise, preprocessing), preprocessing, (note,))
    count, steps = _plan(count, _multiply_accumulates(module, shape))
    sizes = [len(part) for part in torch.arange(count).chunk(-(-count // BATCH))]
    clock = _Clock(time.perf_counter() + LIMIT_S)
    batches = []
    for number, size in enumerate(sizes):
        start = torch.randn((size, *shape), generator=generator)
        matched = _match(module, layers, start, preprocessing=preprocessing, plan=(steps, clock))
        batches.append(_to_pixels(matched, preprocessing))
        listener(Progress(STEP, sum(sizes[: number + 1]), count, unit="images"))
        if clock.stopped:
            break
    stored = np.concatenate(batches)
    notes = [f"{len(stored)} images made in {steps} steps from the statistics of {len(layers)} batch-norm layers"]
    if clock.stopped:
        notes.append(f"stopped by the clock after {LIMIT_S:.0f} s; another run may make other images")
    return SyntheticImages(stored, preprocessing, tuple(notes))


def affordable_images(model: Model, *, count: int, preprocessing: Preprocessing) -> int:
    """How many images `images_from_batch_norm` would make; one forward pass."""
    module = model.module().eval()
    if not _batch_norms(module):
        return count
    return _plan(count, _multiply_accumulates(module, (preprocessing.channels, *preprocessing.crop)))[0]


@dataclass(slots=True)
class _Clock:
    deadline: float
    stopped: bool = False

    def over(self) -> bool:
        self.stopped = self.stopped or time.perf_counter() > self.deadline
        return self.stopped


def _plan(count: int, cost: float) -> tuple[int, int]:
    """(images, steps) within the budget: fewer images, down to one batch, then fewer steps, then a smaller batch."""
    affordable = MULTIPLY_ACCUMULATES / (PASSES * max(cost, 1.0))
    images = min(count, max(BATCH, int(affordable / STEPS)))
    steps = min(STEPS, max(FEWEST_STEPS, int(affordable / images)))
    images = min(images, max(FEWEST_IMAGES, int(affordable / steps)))
    return images, steps


def _match(
    module: nn.Module,
    layers: list[_BatchNorm],
    start: Tensor,
    *,
    preprocessing: Preprocessing,
    plan: tuple[int, _Clock],
) -> Tensor:
    """Adam on the pixels themselves, kept within what 8 bits can hold."""
    steps, clock = plan
    mean, std = _columns(preprocessing)
    low, high = (0 - mean) / std, (1 - mean) / std
    x = torch.maximum(torch.minimum(start, high), low).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=LEARNING_RATE)
    with _watched(layers) as distances, torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / steps)
            optimizer.zero_grad(set_to_none=True)
            distances.clear()
            module(x)
            torch.autograd.backward(torch.stack(distances).sum())
            optimizer.step()
            with torch.no_grad():
                x.copy_(torch.maximum(torch.minimum(x, high), low))
            if clock.over():
                break
    return x.detach()


@contextmanager
def _watched(layers: list[_BatchNorm]) -> Iterator[list[Tensor]]:
    """Collects, per forward pass, how far each layer's input statistics are from the stored ones."""
    distances: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        distances.append(distance(layer, inputs[0]))

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield distances
    finally:
        for handle in handles:
            handle.remove()


def distance(layer: nn.Module, x: Tensor) -> Tensor:
    """Mean squared difference of channel means and standard deviations, in units of the stored variance."""
    mean, variance = layer.running_mean, layer.running_var
    assert isinstance(mean, Tensor) and isinstance(variance, Tensor)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    scale = variance + 1e-3 * variance.mean() + 1e-8
    by_mean = (x.mean(axes) - mean).square() / scale
    by_spread = ((x.var(axes, unbiased=False) + 1e-8).sqrt() - (variance + 1e-8).sqrt()).square() / scale
    return (by_mean + by_spread).mean()


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


def _multiply_accumulates(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Of convolutions and linear layers, for one image."""
    total = 0.0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        total += output[0].numel() * weight[0].numel()

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    handles = [layer.register_forward_hook(add) for layer in module.modules() if isinstance(layer, kinds)]
    try:
        with torch.no_grad():
            module(torch.zeros((1, *shape)))
    finally:
        for handle in handles:
            handle.remove()
    return total


def _columns(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)


def _to_pixels(x: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    mean, std = _columns(preprocessing)
    pixels = ((x * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
