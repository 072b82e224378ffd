"""Sampling: the order of the images in an epoch, and the weight of unequal classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgecnn.core.errors import InputError

Sampling = Literal["shuffled", "weighted", "balanced"]


def class_counts(labels: Sequence[int], classes: int) -> Tensor:
    """How many images each class has, int64 (classes,). Raises InputError for a label outside the classes."""
    classes_of = torch.as_tensor(labels, dtype=torch.int64)
    if len(classes_of) and not 0 <= int(classes_of.min()) <= int(classes_of.max()) < classes:
        wrong = int(classes_of.max()) if int(classes_of.max()) >= classes else int(classes_of.min())
        raise InputError(
            "class-count",
            f"label {wrong} is outside the {classes} classes",
            hint="give a checkpoint with as many outputs as the data has classes",
        )
    return torch.bincount(classes_of, minlength=classes)


def balanced_weights(labels: Sequence[int], classes: int) -> Tensor:
    """What each class weighs in the loss so that all classes together weigh the same, float32 (classes,).

    In proportion to the inverse count, with a mean of 1 over the images; a class without images has weight 1.
    """
    counts = class_counts(labels, classes).double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 1.0).float()


def order(
    count: int, labels: Sequence[int] | None, *, sampling: Sampling, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions of one epoch's images, int64 (batches, batch).

    An incomplete last batch is left out, unless it is the only one. Raises InputError where sampling needs labels.
    """
    size = min(batch, count)
    steps = count // size if size else 0
    if sampling == "shuffled":
        return rng.permutation(count)[: steps * size].reshape(steps, size)
    classes_of = np.asarray(require_labels(labels, sampling), np.int64)
    if sampling == "weighted":
        share = 1.0 / np.bincount(classes_of)[classes_of]
        return rng.choice(count, (steps, size), p=share / share.sum())
    return _balanced(classes_of, steps, size, rng)


def require_labels(labels: Sequence[int] | None, sampling: Sampling) -> Sequence[int]:
    """The labels; raises InputError where there are none and `sampling` looks at them."""
    if labels is None and sampling != "shuffled":
        raise InputError(
            "no-labels",
            f"sampling '{sampling}' needs labels",
            why="nobody knows the classes of these images",
            hint="set sampling to shuffled, or give images in a folder per class",
        )
    return labels or ()


def _balanced(labels: np.ndarray, steps: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Every class equally often in each batch, to within one; a class's images all come before one comes again."""
    classes = np.unique(labels)
    even, left = divmod(size, len(classes))
    slots = np.empty((steps, size), np.int64)
    slots[:, : even * len(classes)] = np.repeat(classes, even)
    # What is left of a batch goes to the classes in turn, so that over an epoch they are even too.
    slots[:, even * len(classes) :] = np.resize(rng.permutation(classes), (steps, left))
    chosen = np.empty_like(slots)
    for label in classes:
        members, wanted = np.flatnonzero(labels == label), slots == label
        needed = int(wanted.sum())
        passes = [rng.permutation(members) for _ in range(-(-needed // len(members)))]
        chosen[wanted] = np.concatenate(passes)[:needed] if passes else members[:0]
    return rng.permuted(chosen, axis=1)
