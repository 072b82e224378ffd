"""Test-time augmentation: an image is answered in several views, whose answers the task merges into one.

Views are made of the 8-bit pixels before normalisation, so a checkpoint and an exported file see the same ones.
Source of five crops, and with `flip` ten: Krizhevsky, Sutskever and Hinton, NeurIPS 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.core.store import digest_of

NAMES = ("flip", "shift", "five-crop")
SHIFT_SHARE = 1 / 32
"""Of the shorter side of the input; one pixel at least."""

View = Callable[[np.ndarray], np.ndarray]
"""uint8 (N, H, W, C) to the same number of images."""


def parse(text: str | None) -> tuple[str, ...]:
    """`flip,shift` as names, in the order of `NAMES`. Raises InputError for an unknown one, or two that exclude each
    other."""
    words = [word.strip() for word in text.split(",")] if text else []
    unknown = next((word for word in words if word not in NAMES), None)
    if unknown is not None:
        raise InputError(
            "unknown-tta", f"no test-time augmentation is called '{unknown}'", hint=did_you_mean(unknown, list(NAMES))
        )
    if {"shift", "five-crop"} <= set(words):
        raise InputError(
            "bad-option", "--tta shift and five-crop exclude each other: both move the image", hint="--tta flip,shift"
        )
    return tuple(name for name in NAMES if name in words)


def in_words(names: tuple[str, ...], preprocessing: Preprocessing) -> str:
    """What is averaged, for a report; empty without augmentation."""
    said = {
        "flip": "each also mirrored",
        "shift": f"shifted by {_shift(preprocessing)} px in four directions",
        "five-crop": "centre and four corners",
    }
    if not names:
        return ""
    kinds = [said[name] for name in ("shift", "five-crop", "flip") if name in names]
    return f"{len(_views(names, preprocessing))} views ({', '.join(kinds)}), mean of their probabilities"


def enlarged(names: tuple[str, ...], preprocessing: Preprocessing) -> Preprocessing:
    """How images are decoded for these views: larger than the network's input where crops are taken of them.

    Raises InputError where there is nothing around the centre to crop.
    """
    if "five-crop" not in names:
        return preprocessing
    height, width = preprocessing.crop
    edge = preprocessing.resize
    if edge is None or preprocessing.stretch or edge <= max(height, width):
        raise InputError(
            "nothing-to-crop",
            "five crops need an image larger than the network's input",
            why=f"images are cropped to {height}x{width} and "
            + ("not resized before" if edge is None or preprocessing.stretch else f"resized to {edge} before"),
            hint=f"--resize {round(max(height, width) * 8 / 7)}, or another augmentation: --tta flip,shift",
        )
    return preprocessing.changed(crop=(edge, edge))


@dataclass(frozen=True)
class Views:
    """All views of every image, those of one image after each other; satisfies `core.stage.Images`.

    `images` are decoded with `enlarged` preprocessing, `preprocessing` is the network's.
    """

    images: Images
    names: tuple[str, ...]
    preprocessing: Preprocessing
    limit: int | None = None

    @property
    def per_image(self) -> int:
        return len(_views(self.names, self.preprocessing))

    @property
    def ids(self) -> list[str]:
        return [f"{name}#{view}" for name in self.images.ids for view in range(self.per_image)][: self.limit]

    @property
    def labels(self) -> list[Any] | None:
        known = self.images.labels
        return None if known is None else [label for label in known for _ in range(self.per_image)][: self.limit]

    @property
    def digest(self) -> str:
        return digest_of([self.images.digest, self.names, self.preprocessing.to_dict(), self.limit])

    def __len__(self) -> int:
        return min(len(self.images) * self.per_image, self.limit if self.limit is not None else 1 << 62)

    def take(self, count: int) -> Views:
        return replace(self, images=self.images.take(-(-count // self.per_image)), limit=min(count, len(self)))

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        views, left = _views(self.names, self.preprocessing), len(self)
        for batch in self.images.pixels(max(1, size // len(views))):
            seen = np.stack([view(batch) for view in views], 1)
            flat = seen.reshape(-1, *seen.shape[2:])[:left]
            left -= len(flat)
            yield from (flat[start : start + size] for start in range(0, len(flat), size))

    def batches(self, size: int) -> Iterator[np.ndarray]:
        from edgecnn.probe.normalise import normalise

        for batch in self.pixels(size):
            yield normalise(batch, self.preprocessing.mean, self.preprocessing.std)


def _views(names: tuple[str, ...], preprocessing: Preprocessing) -> list[View]:
    """The image as it is comes first."""
    places: list[View] = [_same]
    if "shift" in names:
        pixels = _shift(preprocessing)
        places += [_moved(*step) for step in ((0, pixels), (0, -pixels), (pixels, 0), (-pixels, 0))]
    elif "five-crop" in names:
        edge = enlarged(names, preprocessing).crop[0]
        places = [_cropped(top, left, preprocessing.crop) for top, left in _corners(edge, preprocessing.crop)]
    turns: list[View] = [_same, _mirrored] if "flip" in names else [_same]
    return [_both(place, turn) for place, turn in product(places, turns)]


def _shift(preprocessing: Preprocessing) -> int:
    return max(1, round(min(preprocessing.crop) * SHIFT_SHARE))


def _same(batch: np.ndarray) -> np.ndarray:
    return batch


def _mirrored(batch: np.ndarray) -> np.ndarray:
    return batch[:, :, ::-1]


def _both(first: View, second: View) -> View:
    return lambda batch: second(first(batch))


def _moved(down: int, right: int) -> View:
    """Shifted by so many pixels; what comes into sight repeats the edge."""

    def view(batch: np.ndarray) -> np.ndarray:
        rows = np.clip(np.arange(batch.shape[1]) - down, 0, batch.shape[1] - 1)
        columns = np.clip(np.arange(batch.shape[2]) - right, 0, batch.shape[2] - 1)
        return batch[:, rows][:, :, columns]

    return view


def _corners(edge: int, crop: tuple[int, int]) -> list[tuple[int, int]]:
    """Centre, then the four corners: (top, left) in pixels."""
    bottom, right = edge - crop[0], edge - crop[1]
    return [(round(bottom / 2), round(right / 2)), (0, 0), (0, right), (bottom, 0), (bottom, right)]


def _cropped(top: int, left: int, crop: tuple[int, int]) -> View:
    return lambda batch: batch[:, top : top + crop[0], left : left + crop[1]]
