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
    """(the network to go on with, how its rivals did): `model`, unless one of them explains the labels better.

    A rival is taken where it is right more often, or as often and surer of the right classes, in so many images that
    chance would not do it (a sign test, 99 % certain). Labels are output indices; `model` has its preprocessing.
    """
    few = _spread(images)
    labels = np.asarray(few.labels)
    mine = _losses(model, few, labels, listener)
    best, best_losses, told = model, mine, [_score(model, mine)]
    for name in model.rivals:
        rival = open_model(source.checkpoint, architecture=name, weights=source.weights, size=model.input_shape[1:])
        if model.preprocessing is not None:
            rival = rival.with_preprocessing(model.preprocessing)
        losses = _losses(rival, few, labels, listener)
        told.append(_score(rival, losses))
        if _is_better(losses, best_losses):
            best, best_losses = rival, losses
    return best, f"of {len(labels)} labelled images {', '.join(told)}: {best.name} was taken"


def _spread(images: Images | LabelledImages) -> Images:
    """A few images from all over the set, which may be in the order of its classes."""
    if len(images) <= MOST_IMAGES:
        return images
    if not hasattr(images, "select"):
        return images.take(MOST_IMAGES)
    chosen: Images = images.select(np.linspace(0, len(images) - 1, MOST_IMAGES).astype(int).tolist())
    return chosen


def _losses(model: LoadedModel, images: Images, labels: NDArray[np.int_], listener: Listener) -> NDArray[np.float64]:
    """Two rows, each with one number per image: the cross-entropy, in nats, and whether the answer is right."""
    shape = model.input_shape[1:]
    logits = forward(
        model.module(), images, shape=shape, device="cpu", threads=usable_cores(), listener=listener
    ).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    right = logits.argmax(axis=1) == labels
    return np.stack([losses, right])


def _score(model: LoadedModel, losses: NDArray[np.float64]) -> str:
    return f"{model.name} has {int(losses[1].sum())} right"


def _is_better(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Right more often; or, where the answers do not tell, as often, and surer of the right class."""
    fixed, broke = int((one[1] > other[1]).sum()), int((one[1] < other[1]).sum())
    surer, less_sure = int((one[0] < other[0]).sum()), int((one[0] > other[0]).sum())
    return _is_certain(fixed, broke) or (fixed >= broke and _is_certain(surer, less_sure))


def _is_certain(better: int, worse: int) -> bool:
    compared = better + worse
    by_chance = sum(math.comb(compared, hits) for hits in range(better, compared + 1)) / 2**compared
    return bool(by_chance <= 1 - LEAST_CERTAIN)
