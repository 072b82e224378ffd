"""Cross-validation folds: every image is evaluated once, by a network that did not learn from it or a copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edgecnn.core.errors import InputError
from edgecnn.data.images import ImageSet
from edgecnn.data.splits import are_classes, by_class, rank


def folds(images: ImageSet, count: int, *, seed: int = 0) -> list[tuple[ImageSet, ImageSet]]:
    """`count` pairs of (training, validation) that divide each class as evenly as can be.

    Copies of one file are in one fold, and count once. Both sets keep the order of `images`. Raises InputError for
    fewer than two folds, images without labels, or a class with fewer different images than folds; labels that are no
    classes are divided as one. Source: R. Kohavi,
    A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model Selection, IJCAI 1995.
    """
    if count < 2:
        raise InputError(
            "bad-folds",
            f"{count} {'fold is' if count == 1 else 'folds are'} too few",
            why="one fold judges and the others train",
            hint="give 2 folds or more, such as --folds 5",
        )
    if images.labels is None:
        raise InputError(
            "no-labels",
            "cross-validation needs labels",
            why="nobody knows the classes of these images",
            hint="give images in a folder per class, or a table with the column label",
        )
    digests = images.file_digests()
    labels = images.labels if are_classes(images.labels) else [0] * len(digests)
    groups = by_class(labels, digests)
    _require_enough(images, labels, groups, count)
    fold_of = _deal(groups, count, seed)
    return [
        (
            images.select(at for at, digest in enumerate(digests) if fold_of[digest] != fold),
            images.select(at for at, digest in enumerate(digests) if fold_of[digest] == fold),
        )
        for fold in range(count)
    ]


def halves(images: ImageSet) -> tuple[list[int], list[int]]:
    """Positions of two disjoint halves that divide each class as evenly as can be; the second has the odd image.

    Copies of one file are in one half. Images without labels are one class.
    """
    digests = images.file_digests()
    half_of = _deal(by_class(images.labels or [0] * len(digests), digests), 2, 0)
    first = [at for at, digest in enumerate(digests) if half_of[digest]]
    return first, [at for at, digest in enumerate(digests) if not half_of[digest]]


def _deal(groups: dict[int, list[str]], count: int, seed: int) -> dict[str, int]:
    """Class after class, shuffled, to the folds in turn: no fold has two images more than another, of a class or in
    all."""
    shuffled = [digest for label in sorted(groups) for digest in sorted(groups[label], key=partial(rank, seed))]
    return {digest: position % count for position, digest in enumerate(shuffled)}


def _require_enough(images: ImageSet, labels: Sequence[int], groups: dict[int, list[str]], count: int) -> None:
    if not groups:
        raise InputError("no-images", "there are no images to divide", hint="give a folder with images: --data DIR")
    smallest = min(groups, key=lambda label: len(groups[label]))
    most = len(groups[smallest])
    if most >= count:
        return
    name = images.paths[labels.index(smallest)].parent.name
    raise InputError(
        "too-few-images",
        f"{count} folds need {count} different images of each class; class {smallest} ({name}) has {most}",
        hint=f"give --folds {most}, or add images of it" if most > 1 else f"add images to {name}, or leave it out",
    )
