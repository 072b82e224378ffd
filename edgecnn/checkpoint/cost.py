"""How much a network computes."""

from __future__ import annotations

import torch  # noqa: TID253
from torch import nn  # noqa: TID253
from torch.utils.flop_counter import FlopCounterMode  # noqa: TID253

from edgecnn.checkpoint.loaded import LoadedModel
from edgecnn.checkpoint.reference import quiet_stdout
from edgecnn.checkpoint.structure import skeleton


def macs(model: LoadedModel) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image; 0 where they cannot be counted."""
    return count_macs(model.module(), (1, *model.input_shape))


def count_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """As `macs`, for a batch of the shape (N, C, H, W). A module on the meta device is counted there alone."""
    for prepare in (skeleton, nn.Module.cpu):
        try:
            counted = prepare(module)
            image = torch.zeros(shape, device=next(counted.parameters()).device)
            with torch.no_grad(), quiet_stdout(), FlopCounterMode(display=False) as counter:
                counted(image)
        except (RuntimeError, NotImplementedError):
            continue
        return int(counter.get_total_flops()) // 2
    return 0
