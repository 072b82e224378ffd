"""Duplicate images of an audit: the same bytes, or the same look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgecnn.data.audit.images import ScannedImages

BITS = 63
DISTANCE = 5
"""Bits of the 63 in which the hashes of near-copies may differ."""
LEVELS = 16.0
"""Root of the mean squared difference of the 8x8 thumbnails up to which two images look the same, of 255."""
PAIRS_AT_ONCE = 1 << 15
WINDOW = 256
"""Neighbours an image is compared with at most in one bucket: a set of near-identical images must not take for
ever."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Images that are one: positions in the order of the files. `exact`: byte by byte; else by look, and `mirrored`
    when one of them is so only in the mirror."""

    places: tuple[int, ...]
    exact: bool
    mirrored: bool = False


def exact_copies(looked: ScannedImages) -> list[Copies]:
    """Groups of files with the same bytes, in the order of their first."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for place in looked.whole:
        groups[looked.looks[place].sha256].append(place)
    return [Copies(tuple(places), exact=True) for places in groups.values() if len(places) > 1]


def near_copies(looked: ScannedImages) -> list[Copies]:
    """Groups of files of different bytes that look the same: hashes at most `DISTANCE` bits apart, and thumbnails at
    most `LEVELS` different. Mirror images count; of exact copies the first stands for all.

    Two hashes that differ in so few bits agree in one of `DISTANCE` + 1 bands (the pigeonhole principle of Manku, Jain
    and Das Sarma, WWW 2007), so only neighbours in a band are compared: the time grows with the images, not with
    their square.
    """
    firsts: dict[bytes, int] = {}
    for place in looked.whole:
        firsts.setdefault(looked.looks[place].sha256, place)
    places = np.array(sorted(firsts.values()), np.int64)
    if len(places) < 2:
        return []
    direct, thumbs = looked.hashes[places], looked.thumbs[places]
    groups = _Groups(thumbs)
    brightness = thumbs.mean((1, 2, 3))
    for left, right in _candidates(direct, brightness):
        groups.join(left, right)
    # Mirror images only afterwards: what is its own mirror image is a plain copy.
    mirrored = looked.mirrored[places]
    count = len(places)
    for left, right in _candidates(np.concatenate([direct, mirrored]), np.concatenate([brightness, brightness])):
        mixed = (left < count) != (right < count)
        groups.join(left[mixed] % count, right[mixed] % count, mirrored=True)
    return [Copies(tuple(places[members].tolist()), exact=False, mirrored=turned) for members, turned in groups.found()]


def _candidates(hashes: np.ndarray, brightness: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions whose hashes are at most `DISTANCE` bits apart; a pair may come more than once."""
    edges = np.linspace(0, BITS, DISTANCE + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((brightness, hashes, band))
        ordered, bands = hashes[order], band[order]
        here = np.arange(len(order) - 1)
        for ahead in range(1, min(WINDOW, len(order) - 1) + 1):
            here = here[here + ahead < len(order)]
            here = here[bands[here] == bands[here + ahead]]
            if not len(here):
                break
            close = here[_ones(ordered[here] ^ ordered[here + ahead]) <= DISTANCE]
            if len(close):
                yield order[close], order[close + ahead]


if hasattr(np, "bitwise_count"):

    def _ones(values: np.ndarray) -> np.ndarray:
        ones: np.ndarray = np.bitwise_count(values)
        return ones

else:  # numpy 1

    def _ones(values: np.ndarray) -> np.ndarray:
        ones: np.ndarray = _TABLE[np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 8)].sum(1)
        return ones


_TABLE = np.array([bin(value).count("1") for value in range(256)], np.uint8)


class _Groups:
    """Images that were found to look the same; those already in one group are not compared again, so the work of a
    set of thousands that all look alike stays within bounds."""

    def __init__(self, thumbs: np.ndarray) -> None:
        self._thumbs = thumbs
        self._leader = np.arange(len(thumbs))
        self._turned: set[int] = set()

    def join(self, left: np.ndarray, right: np.ndarray, *, mirrored: bool = False) -> None:
        """Join the pairs whose thumbnails are at most `LEVELS` apart, the right one mirrored if asked."""
        apart = self._leader[left] != self._leader[right]
        left, right = left[apart], right[apart]
        for start in range(0, len(left), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            same = self._same(left[some], right[some], mirrored)
            for first, second in zip(left[some][same].tolist(), right[some][same].tolist(), strict=True):
                self._unite(first, second, mirrored)
        if len(left):
            self._flatten()

    def found(self) -> Iterator[tuple[list[int], bool]]:
        """(positions, whether one of them is a mirror image) of each group, in the order of their first."""
        members: defaultdict[int, list[int]] = defaultdict(list)
        for place, leader in enumerate(self._leader.tolist()):
            members[leader].append(place)
        turned = {int(self._leader[place]) for place in self._turned}
        return ((places, leader in turned) for leader, places in sorted(members.items()) if len(places) > 1)

    def _same(self, left: np.ndarray, right: np.ndarray, mirrored: bool) -> np.ndarray:
        one, other = self._thumbs[left].astype(np.float32), self._thumbs[right].astype(np.float32)
        other = other[:, :, ::-1] if mirrored else other
        same: np.ndarray = np.square(one - other).mean((1, 2, 3)) <= LEVELS**2
        return same

    def _unite(self, first: int, second: int, mirrored: bool) -> None:
        first, second = self._lead(first), self._lead(second)
        if first != second:
            self._leader[max(first, second)] = min(first, second)
            self._turned |= {first} if mirrored else set()

    def _lead(self, place: int) -> int:
        while self._leader[place] != place:
            self._leader[place] = self._leader[self._leader[place]]
            place = int(self._leader[place])
        return place

    def _flatten(self) -> None:
        """Every image points at the first of its group."""
        while not np.array_equal(above := self._leader[self._leader], self._leader):
            self._leader = above
