"""Losses of labels: cross-entropy and focal, with label smoothing, mixed targets and class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.train.settings import Batch, TrainSettings

LabelLoss = Callable[[Tensor, Tensor], Tensor]
"""From logits (N, classes) and targets, (N,) labels or (N, classes) shares, to the mean loss."""


def cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits (N, classes) in float32.

    `targets` are labels, int64 (N,), or shares, float (N, classes). `weights` (classes,) multiply each image's loss;
    the mean is over images, not over weights, so it does not depend on how a batch is cut: scale them to a mean of 1
    over the training images. Smoothing: C. Szegedy et al., 2015, arXiv:1512.00567, section 7.
    """
    logits = logits.float()
    if weights is None:
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    each = functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    return (each * _weight_of(targets, weights)).mean()


def focal(
    logits: Tensor, targets: Tensor, *, gamma: float = 2.0, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean focal loss: cross-entropy in which what is already told well counts little, as (1 - p) ** gamma.

    Arguments as for `cross_entropy`; for shares the sum over classes of share times (1 - p) ** gamma times -log p.
    Source: T.-Y. Lin et al., 2017, arXiv:1708.02002, equation 4.
    """
    log_p = functional.log_softmax(logits.float(), dim=1)
    shares = targets
    if not targets.is_floating_point():
        shares = functional.one_hot(targets, log_p.shape[1]).to(log_p.dtype)
    if smoothing:
        shares = shares * (1 - smoothing) + smoothing / log_p.shape[1]
    each = -(shares * (-torch.expm1(log_p)).clamp(min=0) ** gamma * log_p).sum(1)
    return (each if weights is None else each * _weight_of(targets, weights)).mean()


def _weight_of(targets: Tensor, weights: Tensor) -> Tensor:
    return targets @ weights if targets.is_floating_point() else weights[targets]


def label_loss(settings: TrainSettings, labels: Sequence[int] | None, *, classes: int) -> LabelLoss:
    """The labels' loss that `settings` ask for, as a function of logits and targets; `labels` are those of the training
    images, None where they have none."""
    weights: Tensor | None = None
    if settings.class_weights == "balanced" and labels is not None:
        from edgecnn.train.sampling import balanced_weights

        weights = balanced_weights(labels, classes)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        here = None if weights is None else weights.to(logits.device)
        how = cross_entropy if settings.loss == "cross-entropy" else partial(focal, gamma=settings.focal_gamma)
        return how(logits, targets, smoothing=settings.label_smoothing, weights=here)

    return loss


class Labels:
    """The objective that learns from labels alone, by their loss."""

    needs_labels = True

    def __init__(self, loss: LabelLoss) -> None:
        self._loss = loss

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs: Tensor = module(batch.x)
        assert batch.targets is not None  # `fit` has seen to it
        return self._loss(outputs, batch.targets), outputs

    def to(self, device: str) -> None:
        pass
