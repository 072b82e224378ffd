"""Synthetic images that are made from a network's batch-norm statistics when they are first read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgecnn.core.events import Finished, Listener, Started, scoped
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.core.store import digest_of
from edgecnn.models import LoadedModel

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class LazySyntheticImages:
    """Images made from the network's batch-norm statistics when they are first looked at; satisfies
    `core.stage.Images`. Their digest is of what decides them, so a finished run is found again without making any."""

    model: LoadedModel
    count: int
    preprocessing: Preprocessing
    seed: int
    listener: Listener

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.count)))

    @property
    def labels(self) -> None:
        return None

    @property
    def digest(self) -> str:
        return digest_of(["batch-norm", self.model.sha256, self.count, self.preprocessing.to_dict(), self.seed])

    def __len__(self) -> int:
        return self.count

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        return self._made.pixels(size)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return self._made.batches(size)

    def take(self, count: int) -> Images:
        return self if count >= self.count else self._made.take(count)

    @cached_property
    def _made(self) -> Images:
        from edgecnn.train.synthesis import images_from_batch_norm

        step, began = "make images", time.monotonic()
        self.listener(Started(step))
        images = images_from_batch_norm(
            self.model,
            count=self.count,
            preprocessing=self.preprocessing,
            seed=self.seed,
            listener=scoped(self.listener, step),
        )
        self.listener(Finished(step, time.monotonic() - began, note="; ".join(images.notes)))
        return images
