"""Prepared network for QAT: what a file format gives to the training, and the way back into the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgecnn.compress.qat.network import Network
from edgecnn.core.errors import StepError
from edgecnn.core.stage import Images
from edgecnn.quantize.observe import Runner
from edgecnn.quantize.ranges import RangeTable

COMPARED = 2
TOLERANCE = 1e-3
"""Of the largest logit: far above what the order of float additions makes, far below a wrong operator."""


class PreparedNetwork(NamedTuple):
    """`save(weights, path)` writes the float file with the trained weights."""

    network: Network
    ranges: RangeTable
    save: Callable[[Mapping[str, Tensor], Path], None]


def require_same(network: Network, run: Runner, images: Images) -> None:
    """Raise StepError unless the float `network` answers a batch of images as the runtime answers each by itself."""
    shown = np.concatenate(list(images.take(COMPARED).batches(1)))
    wanted = np.concatenate([run(image[None])[network.output] for image in shown])
    with torch.inference_mode():
        outputs = network(torch.from_numpy(shown)).numpy()
    if outputs.shape != wanted.shape or np.abs(outputs - wanted).max() > TOLERANCE * max(
        float(np.abs(wanted).max()), 1e-6
    ):
        off = "another shape" if outputs.shape != wanted.shape else f"up to {np.abs(outputs - wanted).max():.3g} off"
        raise StepError(
            "not-reproduced",
            "the exported graph cannot be trained: in torch it does not answer what its runtime answers",
            why=f"{off}, where the largest logit is {np.abs(wanted).max():.3g}",
            hint="leave `qat` out of the recipe for this network",
        )
