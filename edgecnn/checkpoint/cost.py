"""How much a network computes."""

from __future__ import annotations

import torch  # noqa: TID253
from torch.utils.flop_counter import FlopCounterMode  # noqa: TID253

from edgecnn.checkpoint.loaded import LoadedModel
from edgecnn.checkpoint.reference import quiet_stdout


def macs(model: LoadedModel) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image; 0 where they cannot be counted."""
    image = torch.zeros(1, *model.input_shape)
    for device in ("meta", "cpu"):
        try:
            with torch.no_grad(), quiet_stdout(), FlopCounterMode(display=False) as counter:
                model.module().to(device)(image.to(device))
        except (RuntimeError, NotImplementedError):
            continue
        return int(counter.get_total_flops()) // 2
    return 0
