"""Images that are there more than once: with the same bytes, or looking the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgecnn.data.audit_images import Looked

BITS = 63
DISTANCE = 5
"""Bits of the 63 in which the hashes of near-copies may differ."""
LEVELS = 16.0
"""Root of the mean squared difference of the 8x8 thumbnails up to which two images look the same, of 255."""
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


def exact_copies(looked: Looked) -> list[Copies]:
    """Groups of files with the same bytes, in the order of their first."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for place in looked.whole:
        groups[looked.looks[place].sha256].append(place)
    return [Copies(tuple(places), exact=True) for places in groups.values() if len(places) > 1]


def near_copies(looked: Looked) -> list[Copies]:
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
    found: dict[tuple[int, int], bool] = {}
    hashes = np.concatenate([looked.hashes[places], looked.mirrored[places]])
    for left, right in _candidates(hashes):
        for first, second, mirrored in _same_look(looked, places, left, right):
            pair = (min(first, second), max(first, second))
            found[pair] = found.get(pair, True) and mirrored
    return _groups(found)


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions whose hashes are at most `DISTANCE` bits apart; a pair may come more than once."""
    edges = np.linspace(0, BITS, DISTANCE + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((hashes, band))
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
        found: np.ndarray = np.bitwise_count(values)
        return found

else:  # numpy 1

    def _ones(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = _TABLE[np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 8)].sum(1)
        return found


_TABLE = np.array([bin(value).count("1") for value in range(256)], np.uint8)


def _same_look(
    looked: Looked, places: np.ndarray, left: np.ndarray, right: np.ndarray
) -> Iterator[tuple[int, int, bool]]:
    """(place, place, mirrored) of the candidates whose thumbnails agree. From `len(places)` on, a position is that of
    a mirror image; two mirror images say nothing that their originals do not."""
    count = len(places)
    kept = ((left < count) | (right < count)) & (left % count != right % count)
    left, right = left[kept], right[kept]
    first, second = places[left % count], places[right % count]
    mirrored = (left >= count) != (right >= count)
    one, other = looked.thumbs[first].astype(np.float32), looked.thumbs[second].astype(np.float32)
    other[mirrored] = other[mirrored][:, :, ::-1]
    different = np.sqrt(np.square(one - other).mean((1, 2, 3)))
    for row in np.flatnonzero(different <= LEVELS):
        yield int(first[row]), int(second[row]), bool(mirrored[row])


def _groups(pairs: dict[tuple[int, int], bool]) -> list[Copies]:
    """Pairs that share an image are one group."""
    leader: dict[int, int] = {}

    def lead(place: int) -> int:
        while leader.setdefault(place, place) != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for first, second in pairs:
        leader[max(lead(first), lead(second))] = min(lead(first), lead(second))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in sorted(leader):
        groups[lead(place)].append(place)
    turned = {lead(pair[0]) for pair, mirrored in pairs.items() if mirrored}
    return [Copies(tuple(places), exact=False, mirrored=first in turned) for first, places in sorted(groups.items())]
