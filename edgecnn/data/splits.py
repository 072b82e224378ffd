"""Splits: which images calibrate and which evaluate. Deterministic, spread over the classes, never overlapping."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

HELD_OUT = 0.5
"""The share that judges, where the rest calibrates: few images calibrate, and the more that judge the surer."""
VALIDATION = 0.2
"""The share that validates a training, where the rest is learned from."""


def rank(seed: int, word: str) -> bytes:
    """A shuffle that depends on nothing but seed and name: not on platform, version, or what else is in the list."""
    return hashlib.sha256(f"{seed}:{word}".encode("utf-8", "surrogateescape")).digest()


def round_robin(labels: Sequence[int], names: Sequence[str], *, seed: int) -> list[int]:
    """Positions ordered so that every prefix is spread over the classes as evenly as it can be."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(labels)), key=lambda position: rank(seed, names[position])):
        groups[labels[position]].append(position)
    order = sorted(groups, key=lambda label: rank(seed, f"class {label}"))
    rank_in_class = {position: rank for group in groups.values() for rank, position in enumerate(group)}
    rank_of_class = {label: rank for rank, label in enumerate(order)}
    return sorted(range(len(labels)), key=lambda position: (rank_in_class[position], rank_of_class[labels[position]]))


def distinct(digests: Sequence[str]) -> list[int]:
    """Positions of the first image of each content. Copies are one observation: they prove no more than one of them."""
    first: dict[str, int] = {}
    for position, digest in enumerate(digests):
        first.setdefault(digest, position)
    return list(first.values())


def counted_copies(copies: int) -> dict[str, int]:
    """The copies that do not judge, among the counts of a set's facts; nothing where there are none."""
    return {"copies": copies} if copies else {}


def copies_note(images: int, copies: int) -> list[str]:
    """What to know of a set that judges, from which `copies` were left out."""
    if not copies:
        return []
    return [
        f"{copies:,} of {images + copies:,} images to judge on are copies of others: {images:,} distinct ones judge"
    ]


def are_classes(labels: Sequence[Any]) -> bool:
    """Whether labels are classes, which are whole numbers; two images seldom share a label of another kind."""
    return all(isinstance(label, Integral) for label in labels)


def by_class(labels: Sequence[Any], digests: Sequence[str]) -> dict[Any, list[str]]:
    """The digests of each class's files, in their order, each once."""
    groups: defaultdict[Any, list[str]] = defaultdict(list)
    for digest, label in dict(zip(digests, labels, strict=True)).items():
        groups[label].append(digest)
    return groups


def hold_out(
    labels: Sequence[Any], digests: Sequence[str], *, seed: int, share: float = HELD_OUT
) -> tuple[list[int], list[int]]:
    """Divide positions into (kept, held out) within each class; copies of one file stay together.

    That `share` of each class is held out, rounded up, so a class with a single image judges; a smaller share is part
    of a larger one. Labels that are no classes are divided as one class.
    """
    held: set[str] = set()
    for group in by_class(labels if are_classes(labels) else [0] * len(labels), digests).values():
        ranked = sorted(group, key=lambda digest: rank(seed, digest))
        held.update(ranked[: -int(-len(ranked) * share // 1)])
    positions = range(len(labels))
    kept = [position for position in positions if digests[position] not in held]
    return kept, [position for position in positions if digests[position] in held]


def first_shared(left: Iterable[str], right: Sequence[str]) -> tuple[int, int] | None:
    """Positions of the first equal digest in both, or None."""
    at = {digest: position for position, digest in reversed(list(enumerate(right)))}
    return next(((position, at[digest]) for position, digest in enumerate(left) if digest in at), None)
