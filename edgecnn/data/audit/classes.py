"""Class balance of an audit: how images are spread over classes, parts and sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecnn.data.audit.images import GREY, ImageScan

ELONGATED = 4.0
"""Sides of this ratio and more are odd: the crop sees a small part."""
TINY = 16
"""A shorter side below so many pixels shows next to nothing."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Images by class name and part; every class has an entry for every part, most images first."""

    counts: Mapping[str, Mapping[str, int]]
    parts: tuple[str, ...]

    def totals(self, part: str | None = None) -> dict[str, int]:
        """Images of each class, in one part or all."""
        return {
            name: counts[part] if part is not None else sum(counts.values()) for name, counts in self.counts.items()
        }

    def missing(self, part: str) -> list[str]:
        """Classes without an image in `part`."""
        return [name for name, counts in self.counts.items() if not counts[part]]

    def ratio(self, part: str) -> float | None:
        """Images of the largest class over those of the smallest that has any; None without images."""
        present = [count for count in self.totals(part).values() if count]
        return max(present) / min(present) if present else None


def balance(labels: Sequence[str], parts: Sequence[str], *, known: Sequence[str]) -> Balance:
    """`labels` and `parts` of each image; `known` are all class names, also those without images."""
    met = Counter(zip(labels, parts, strict=True))
    order = tuple(dict.fromkeys(parts))
    names = sorted({*known, *labels}, key=lambda name: (-sum(met[name, part] for part in order), name))
    return Balance({name: {part: met[name, part] for part in order} for name in names}, order)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Width x height of the images of one part, in pixels: the most frequent and how many have it, and quartiles of
    the shorter side."""

    images: int
    different: int
    usual: tuple[int, int]
    usual_images: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    shorter_quartiles: tuple[float, float, float]
    elongated: int
    tiny: int


def sizes(looks: Sequence[ImageScan]) -> Sizes | None:
    """Of the files that decode; None when there are none."""
    sizes_found = [(look.width, look.height) for look in looks if not look.error]
    if not sizes_found:
        return None
    usual, images = Counter(sizes_found).most_common(1)[0]
    sides = np.array(sizes_found, np.float64)
    shorter, longer = sides.min(1), sides.max(1)
    low, middle, high = (float(value) for value in np.quantile(shorter, (0.25, 0.5, 0.75)))
    return Sizes(
        images=len(sizes_found),
        different=len(set(sizes_found)),
        usual=usual,
        usual_images=images,
        smallest=min(sizes_found, key=lambda size: (size[0] * size[1], size)),
        largest=max(sizes_found, key=lambda size: (size[0] * size[1], size)),
        shorter_quartiles=(low, middle, high),
        elongated=int(np.count_nonzero(longer >= ELONGATED * shorter)),
        tiny=int(np.count_nonzero(shorter < TINY)),
    )


def oddities(looks: Sequence[ImageScan]) -> dict[str, list[int]]:
    """Positions of the images that are unlike what a loader expects, by what is odd; most frequent first.

    Grey images are odd only among images in colour.
    """
    places: dict[str, list[int]] = {}
    whole = [place for place, look in enumerate(looks) if not look.error]
    grey = [place for place in whole if looks[place].mode in GREY]
    if grey and len(grey) < len(whole):
        places["grey among colour"] = grey
    for place in whole:
        for word in looks[place].oddities:
            places.setdefault(word, []).append(place)
    return dict(sorted(places.items(), key=lambda item: -len(item[1])))
