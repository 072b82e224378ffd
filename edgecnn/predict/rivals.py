"""Rival architectures: they take the same weights and compute something else; labelled images say which was trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.core.events import Listener, ignore
from edgecnn.core.stage import Images, LabelledImages
from edgecnn.data.preprocessing import Source
from edgecnn.models import LoadedModel, open_model
from edgecnn.predict.torch import forward
from edgecnn.probe.facts import usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_IMAGES = 40
LEAST_CERTAIN = 0.99


def decided(
    model: LoadedModel, source: Source, images: Images | LabelledImages, *, listener: Listener = ignore
) -> tuple[LoadedModel, str]:
    """(the network to go on with, how its rivals did): `model`, unless one of them is clearly right more often.

    A rival is taken where it is right so much more often that chance would not do it (a sign test, 99 % certain): at
    chance the plain network stays. Labels are output indices; `model` has its preprocessing.
    """
    few = _spread(images)
    labels = np.asarray(few.labels)
    mine = _right(model, few, labels, listener)
    best, best_right, told = model, mine, [_score(model, mine)]
    for name in model.rivals:
        rival = open_model(source.checkpoint, architecture=name, weights=source.weights, size=model.input_shape[1:])
        if model.preprocessing is not None:
            rival = rival.with_preprocessing(model.preprocessing)
        right = _right(rival, few, labels, listener)
        told.append(_score(rival, right))
        if _is_better(right, best_right):
            best, best_right = rival, right
    return best, f"of {len(labels)} labelled images {', '.join(told)}: {best.name} was taken"


def _spread(images: Images | LabelledImages) -> Images:
    """A few images from all over the set, which may be in the order of its classes."""
    if len(images) <= MOST_IMAGES:
        return images
    if not hasattr(images, "select"):
        return images.take(MOST_IMAGES)
    chosen: Images = images.select(np.linspace(0, len(images) - 1, MOST_IMAGES).astype(int).tolist())
    return chosen


def _right(model: LoadedModel, images: Images, labels: NDArray[np.int_], listener: Listener) -> NDArray[np.bool_]:
    """Per image, whether the answer is right."""
    shape = model.input_shape[1:]
    scores = forward(model.module(), images, shape=shape, device="cpu", threads=usable_cores(), listener=listener)
    right: NDArray[np.bool_] = scores.argmax(axis=1) == labels
    return right


def _score(model: LoadedModel, right: NDArray[np.bool_]) -> str:
    return f"{model.name} has {int(right.sum())} right"


def _is_better(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    fixed, broke = int((one & ~other).sum()), int((other & ~one).sum())
    by_chance = sum(math.comb(fixed + broke, hits) for hits in range(fixed, fixed + broke + 1)) / 2 ** (fixed + broke)
    return bool(by_chance <= 1 - LEAST_CERTAIN)
