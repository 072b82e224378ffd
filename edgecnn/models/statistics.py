"""Batch-norm statistics tell in which of several networks weights were trained.

Networks that differ only in operations without weights (another pooling, padding or activation) take the same
checkpoint. In the one it was trained in, photographs give each batch norm about the mean and variance that training
recorded there; in another they do not. Two photographs that scikit-learn ships are enough: the comparison is between
networks, on the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from edgecnn.models.reference import quiet_stdout

# The best network's distance is at most this share of the next one's, and small enough to resemble photographs at all.
# Smooth images (small ones, enlarged) resemble photographs in a network that blurs although it is a plain one that was
# trained: to depart from the plain one takes more. Measured on a ResNet-18 with statistics of enlarged CIFAR: 0.86.
CLEAR = 0.7
DEPARTS = 0.4
RESEMBLES = 1.0
_EDGE = 160
_NORMALISATIONS = (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


@cache
def _photographs() -> torch.Tensor:
    """Twelve square views of two photographs, (12, 3, 160, 160) in [0, 1]."""
    from sklearn.datasets import load_sample_images

    views = []
    for photograph in load_sample_images().images:
        image = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float() / 255
        height, width = image.shape[-2:]
        for edge, down, right in (
            (1.0, 0.0, 0.0),
            (1.0, 0.0, 1.0),
            (0.7, 0.0, 0.3),
            (0.7, 1.0, 0.8),
            (0.5, 0.3, 0.5),
            (0.5, 1.0, 0.1),
        ):
            side = int(edge * height)
            top, left = int(down * (height - side)), int(right * (width - side))
            view = image[..., top : top + side, left : left + side]
            views.append(nn.functional.interpolate(view, size=(_EDGE, _EDGE), mode="bilinear", antialias=True))
    return torch.cat(views)


def distance(module: nn.Module) -> float | None:
    """How far photographs are from what the network's batch norms recorded; None where nothing was recorded.

    The mean over layers of the median over channels of the Kullback-Leibler divergence between the two normals.
    """
    layers = [item for item in module.modules() if isinstance(item, nn.BatchNorm2d) and item.running_mean is not None]
    if not layers or all(not bool(item.running_mean.any()) for item in layers if item.running_mean is not None):
        return None
    return min(_distance(module, layers, mean, std) for mean, std in _NORMALISATIONS)


def _distance(
    module: nn.Module, layers: Sequence[nn.BatchNorm2d], mean: tuple[float, ...], std: tuple[float, ...]
) -> float:
    divergences: list[float] = []

    def compare(layer: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        variance, centre = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        recorded = layer.running_var + layer.eps
        ratio = (variance + layer.eps) / recorded
        apart = 0.5 * (ratio + (centre - layer.running_mean) ** 2 / recorded - 1 - ratio.log())
        divergences.append(float(apart.median()))

    hooks = [layer.register_forward_hook(compare) for layer in layers]
    try:
        with torch.inference_mode(), quiet_stdout():
            module((_photographs() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    except RuntimeError:
        return math.inf
    finally:
        for hook in hooks:
            hook.remove()
    return sum(divergences) / len(divergences) if divergences else math.inf


def clear_winner(distances: Sequence[float | None]) -> int | None:
    """The position of the network the statistics belong to (0 is the plain one), or None where they do not tell."""
    known = [value for value in distances if value is not None and not math.isnan(value)]
    if len(known) != len(distances) or len(known) < 2:
        return None
    best, second = sorted(known)[:2]
    winner = known.index(best)
    clear = best <= CLEAR * second if winner == 0 else best <= DEPARTS * second
    return winner if clear and best <= RESEMBLES else None
