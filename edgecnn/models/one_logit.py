"""One-logit heads: a binary classifier under a sigmoid, as a network of two classes.

The logit z becomes the scores (0, z): their softmax is the sigmoid, and their cross-entropy the binary one, so that the
same network is trained, judged and bundled as any other. A hook does it: the names of the weights stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

CLASSES = 2
NOTE = "the network gives one logit: it was taken for two classes, the second one where its sigmoid is above 0.5"


def as_two_classes(network: nn.Module) -> nn.Module:
    """The same module; from now on it gives (N, 2) scores."""
    network.register_forward_hook(_two_scores)
    return network


def _two_scores(module: nn.Module, inputs: Any, logit: torch.Tensor) -> torch.Tensor:
    return nn.functional.pad(logit, (1, 0))
