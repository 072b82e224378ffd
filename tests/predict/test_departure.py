"""The first layer that an exported file computes otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from edgecnn.models.steps import record
from edgecnn.predict.departure import first_departure

IMAGE = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Convolution with batch norm and ReLU, a resize in `forward`, a residual block, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = interpolate(x, scale_factor=1.5)
        x = x + self.block(x)
        return self.head(x.mean((2, 3)))


def network() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def tensors(module: nn.Module, *, fused: tuple[str, ...] = ("0", "1")) -> Mapping[str, np.ndarray]:
    """What a file of `module` computes, without what its runtime fuses: convolutions and batch norms in sequences."""
    steps, failed = record(copy.deepcopy(module), IMAGE)
    assert not failed
    kept = [step for step in steps if step.values is not None and step.layer.rpartition(".")[2] not in fused]
    return {str(place): step.values.numpy() for place, step in enumerate(kept) if step.values is not None}


def spoil_resize(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    monkeypatch.setitem(globals(), "interpolate", partial(nn.functional.interpolate, mode="bilinear"))


def spoil_block(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    net.block[0].weight.data += 0.3


def spoil_activation(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    net.block[1] = nn.Softplus()


def spoil_head(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    net.head.weight.data[2] += 1


@pytest.mark.parametrize(
    ("spoil", "layer"),
    [
        (spoil_resize, "upsample_nearest2d, test_departure.py line "),
        (spoil_block, "block.0 (convolution, test_departure.py line "),
        (spoil_head, "head ("),
    ],
)
def test_the_first_layer_that_departs_is_named(
    spoil: Callable[[pytest.MonkeyPatch, Net], None], layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, _ = record(network(), IMAGE)
    wrong = network()
    with monkeypatch.context() as patched:
        spoil(patched, wrong)
        written = tensors(wrong)
    found = first_departure(steps, written)
    assert found is not None and layer in str(found)


def test_where_a_fused_layer_departs_its_group_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, _ = record(network(), IMAGE)
    wrong = network()
    spoil_activation(monkeypatch, wrong)
    found = first_departure(steps, tensors(wrong))
    assert found is not None and str(found).startswith("block.0 (")
    found = first_departure(steps, tensors(wrong, fused=()))
    assert found is not None and str(found).startswith("block.1 (")


def test_a_file_that_computes_the_same_departs_nowhere() -> None:
    steps, _ = record(network(), IMAGE)
    assert first_departure(steps, tensors(network())) is None
