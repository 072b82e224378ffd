"""Reddish against bluish noise and a network that tells them apart: for tests that train, also in other processes.

As a program it trains as its arguments say, one line per batch and per epoch on stdout, and writes the weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train import TrainingImages, TrainSettings, fit
from edgecnn.train.settings import Batch, Epoch

P = Preprocessing(crop=(8, 8), resize=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


def write(folder: Path, count: int = 70) -> None:
    """PNG files named by number; odd ones are bluish."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 120, (8, 8, 3), np.uint8)
        noise[:, :, 2 * (number % 2)] += 100
        Image.fromarray(noise).save(folder / f"{number:03}.png")


def opened(folder: Path) -> ImageSet:
    paths = sorted(folder.glob("*.png"))
    return ImageSet(paths, [int(path.stem) % 2 for path in paths], preprocessing=P, root=folder)


def split(images: ImageSet) -> TrainingImages:
    return TrainingImages(images.take(50), images.select(range(50, len(images))))


def net(outputs: int = 2, *, plain: bool = False) -> nn.Sequential:
    """With batch norm and dropout, or `plain`: with neither."""
    torch.manual_seed(0)
    conv, norm, dropout = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.1)
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)
    return nn.Sequential(conv, nn.ReLU(), *end) if plain else nn.Sequential(conv, norm, nn.ReLU(), dropout, *end)


def settings(**changes: Any) -> TrainSettings:
    chosen = {"epochs": 4, "batch": 16, "learning_rate": 0.02, "mixed_precision": "off", "workers": 0, "device": "cpu"}
    return TrainSettings.model_validate({**chosen, **changes})


@dataclass
class Dawdling:
    """Cross-entropy that takes its time, says so, and in process `fails` of several fails at its third batch."""

    pause_s: float = 0.0
    fails: int = -1
    needs_labels: bool = True
    seen: int = 0

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        self.seen += 1
        print(f"batch {self.seen}", flush=True)  # noqa: T201
        time.sleep(self.pause_s)
        if self.seen == 3 and torch.distributed.is_initialized() and torch.distributed.get_rank() == self.fails:
            raise ZeroDivisionError("this process fails")
        logits: Tensor = module(batch.x)
        assert batch.targets is not None
        return nn.functional.cross_entropy(logits, batch.targets), logits

    def to(self, device: str) -> None:
        assert device == "cpu"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", type=TrainSettings.model_validate_json, required=True)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--unused", action="store_true", help="a layer that the answer does not come from")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--fails", type=int, default=-1)
    parser.add_argument("--judging", type=float, default=0.0, help="seconds that judging takes; it is told of")
    given = parser.parse_args()
    torch.set_num_threads(1)

    def watch(number: int, epoch: Epoch, module: nn.Module) -> None:
        print(f"epoch {number}", flush=True)  # noqa: T201

    module = net(plain=given.plain)
    if given.unused:
        module[0].register_module("idle", nn.Linear(2, 2))
    images = split(opened(given.images))
    assert images.validation is not None
    pixels = images.validation.pixels

    def slowly(size: int) -> Iterator[np.ndarray]:
        print("judging", flush=True)  # noqa: T201
        time.sleep(given.judging)
        yield from pixels(size)

    if given.judging:
        images.validation.pixels = slowly  # type: ignore[method-assign]
    history = fit(
        module,
        images,
        settings=given.settings,
        objective=Dawdling(given.pause, given.fails),
        scratch=given.scratch,
        seed=7,
        watch=watch,
    )
    # Every process of several has the same weights; the last one to write wins.
    torch.save({"weights": module.state_dict(), "losses": [epoch.loss for epoch in history.epochs]}, given.out)


if __name__ == "__main__":
    main()
