"""Cost of a network: multiply-accumulates, and the smallest feature map of an input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgecnn.models import match
from edgecnn.models.open import LoadedModel
from edgecnn.models.pruned import skeleton
from edgecnn.models.reference import quiet_stdout


def macs(model: LoadedModel) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image; 0 where they cannot be counted."""
    return count_macs(model.module(), (1, *model.input_shape))


def count_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """As `macs`, for a batch of the shape (N, C, H, W). A module on the meta device is counted there alone."""
    return layer_macs(module, shape)[0]


def layer_macs(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, dict[str, int]]:
    """(all multiply-accumulates, those of each module without children by its path); see `count_macs`."""
    for prepare in (skeleton, nn.Module.cpu):
        try:
            counted = module if next(module.parameters()).is_meta else prepare(module)
            image = torch.zeros(shape, device=next(counted.parameters()).device)
            with torch.no_grad(), quiet_stdout(), FlopCounterMode(display=False) as counter:
                counted(image)
        except (RuntimeError, NotImplementedError):
            continue
        counts, root = counter.get_flop_counts(), type(counted).__name__
        leaves = [path for path, item in counted.named_modules() if not list(item.children())]
        by_layer = {path: sum(counts.get(f"{root}.{path}", {}).values()) // 2 for path in leaves}
        return int(counter.get_total_flops()) // 2, by_layer
    return 0, {}


def smallest_feature_map(module: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int] | None:
    """(height, width) of what the last batch norm sees of an input (C, H, W); None where there is no batch norm.

    Raises StepError when the network does not run on that size.
    """
    sizes: list[tuple[int, int]] = []

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes.append((inputs[0].shape[-2], inputs[0].shape[-1]))

    layers = [item for item in module.modules() if isinstance(item, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        match.run(module, torch.zeros(1, *shape))
    finally:
        for handle in handles:
            handle.remove()
    return sizes[-1] if sizes else None
