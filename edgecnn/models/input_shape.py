"""Input shape of a network, (C, H, W): what it declares, else the first usual one that it accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from edgecnn.core.errors import EdgecnnError, InputError, StepError
from edgecnn.models import facts, match

_SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 48, 40, 112, 160, 192, 240, 384, 512)
"""Edges in pixels; where several fit, the first is taken."""
_USUAL_CHANNELS = (3, 1)
_MOST_LAYERS = 8


def settle(
    network: nn.Module, *, channels: Iterable[int] = (), size: tuple[int, int] | None = None
) -> tuple[tuple[int, int, int], int]:
    """The input shape and the number of outputs; `size` is (H, W) where it is known.

    What `channels` says is tried first, then three, then one, then what the convolutions take: the first one
    registered need not be the first that runs, and a network may make channels of its own out of the image's. Raises
    InputError where the network has no 2-D convolution or is no classifier, StepError where it accepts nothing.
    """
    layers = _channels(network)
    failures: dict[int, EdgecnnError] = {}
    for count in dict.fromkeys((*channels, *_USUAL_CHANNELS, *layers)):
        for height, width in [size] if size is not None else [(edge, edge) for edge in _SIZES]:
            shape = (count, height, width)
            try:
                return shape, outputs(network, shape)
            except StepError as error:
                failures.setdefault(count, error)
    raise failures.get(layers[0], next(iter(failures.values())))


def _channels(network: nn.Module) -> list[int]:
    layers = [item.in_channels for item in network.modules() if isinstance(item, nn.Conv2d)]
    if not layers:
        raise InputError(
            "not-a-cnn", "the network has no 2-D convolution", hint="edgecnn takes convolutional image classifiers"
        )
    return list(dict.fromkeys(layers))[:_MOST_LAYERS]


def declared_size(network: nn.Module) -> tuple[int, int] | None:
    """(H, W) that a network of the user's own carries as an attribute."""
    config = getattr(network, "default_cfg", None) or getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and (size := facts.size_of(config.get("input_size"))):
        return size
    names = ("input_size", "input_image_size", "image_size", "img_size")
    return next((size for name in names if (size := facts.size_of(getattr(network, name, None)))), None)


def outputs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """How many scores it gives an image of this shape. Raises StepError where it does not run, InputError where it
    gives none."""
    return match.run(network, torch.zeros(1, *shape)).shape[1]
