"""Whether a network is a function of one image: the same answer twice, and whatever else is in the batch."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned
from edgecnn.core.stage import Model
from edgecnn.models.steps import OperatorStep, record

BATCH = 8
EQUAL = 1e-3
"""Answers that differ by less than this share of the largest one are equal: other kernels round otherwise."""


def validate_one_image(model: Model, *, listener: Listener) -> None:
    """Raise InputError where the network answers the same image otherwise the second time, or in a batch with others.
    A network that takes one image only at a time is announced."""
    images = torch.randn(BATCH, *model.input_shape, generator=torch.Generator().manual_seed(0))
    module, one = model.module(), images[:1]
    with torch.inference_mode():
        first, second = module(one), module(one)
        if not _equal(first, second):
            raise _random(model, one)
        try:
            beside_others = module(images)[:1]
        except Exception:  # whatever a network raises that was made for one image
            listener(_single(model, images))
            return
    if not _equal(first, beside_others):
        raise _mixing(model, images)


def largest_batch(module: nn.Module, shape: tuple[int, ...], most: int) -> int:
    """`most`, or 1 for a network that takes one image only at a time. `shape` is (C, H, W)."""
    try:
        with torch.inference_mode():
            module(torch.zeros(most, *shape))
    except Exception:  # whatever a network raises that was made for one image
        return 1
    return most


def _random(model: Model, one: torch.Tensor) -> InputError:
    first, second = (record(model.module(), one)[0] for _ in range(2))
    return InputError(
        "random-network",
        f"{model.name} answers the same image differently each time",
        why=f"the first layer that does: {_first(first, second)}",
        hint="nothing may be drawn at inference: F.dropout needs training=self.training, or use nn.Dropout",
    )


def _mixing(model: Model, images: torch.Tensor) -> InputError:
    alone, together = (record(model.module(), batch)[0] for batch in (images[:1], images))
    return InputError(
        "mixes-images",
        f"what {model.name} answers to an image depends on the other images in the batch",
        why=f"the first layer that looks at them: {_first(alone, together)}",
        hint="batch norm needs running statistics: track_running_stats=True, and a pass over training images; where "
        "each image is to be normalised by itself, use nn.InstanceNorm2d or nn.GroupNorm",
    )


def _single(model: Model, images: torch.Tensor) -> Warned:
    failed = record(model.module(), images)[1]
    return Warned(
        "fixed-batch",
        f"{model.name} takes one image at a time, and so do its files; the layer that fixes it: {failed}",
        "x.flatten(1), or a view of x.shape[0], takes any number",
    )


def _first(one: list[OperatorStep], other: list[OperatorStep]) -> str:
    """The first step that computes something else for the first image in the second record."""
    for step, again in zip(one, other, strict=False):
        if step.values is None or again.values is None:
            continue
        values = step.values.flatten()
        if not _equal(values, again.values.flatten()[: len(values)]):
            return str(step)
    return "not found"


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or not one.numel():
        return one.shape == other.shape
    one, other = torch.nan_to_num(one), torch.nan_to_num(other)
    return bool((one - other).abs().max() <= EQUAL * one.abs().max())
