"""Nodes of an exported file find the groups of channels that decide their time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgecnn.compress.prune.group import PrunableGroup
from edgecnn.compress.prune.layer_groups import parts_of


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.dw = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.conv2 = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.relu(x + self.conv2(self.dw(self.relu(self.conv1(x)))))
        return answer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Hardswish())
        self.block = Block()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.fc(torch.flatten(self.pool(self.block(self.stem(x))), 1))
        return answer


def group(root: str, *layers: tuple[str, Literal["out", "in"]]) -> PrunableGroup:
    return PrunableGroup(root, layers, 8, (4, 8), tuple(range(8)), (1.0,) * 8)


GROUPS = (
    group("stem.0", ("stem.0", "out"), ("stem.2", "in")),
    group("stem.2", ("stem.2", "out"), ("block.conv1", "in"), ("block.conv2", "out"), ("fc", "in")),
    group("block.conv1", ("block.conv1", "out"), ("block.dw", "out"), ("block.dw", "in"), ("block.conv2", "in")),
)


def test_layers_depend_on_what_they_make_and_what_they_read() -> None:
    found = parts_of(["stem.0", "stem.2", "block.conv1", "block.dw", "fc"], Net(), GROUPS)
    assert found == {
        "stem.0": {"stem.0": 1.0},
        "stem.2": {"stem.2": 0.5, "stem.0": 0.5},
        "block.conv1": {"block.conv1": 0.5, "stem.2": 0.5},
        "block.dw": {"block.conv1": 1.0},
        "fc": {"stem.2": 1.0},
    }


def test_what_has_no_channels_of_its_own_follows_the_layer_before_it() -> None:
    names = ["stem.1", "stem.3", "block.relu", "block.add1", "pool", "block.conv1.relu1", "block.conv1"]
    found = parts_of(names, Net(), GROUPS)
    assert found["stem.1"] == {"stem.0": 1.0}
    assert found["stem.3"] == {"stem.2": 1.0}
    assert found["block.relu"] == {"block.conv1": 1.0}
    assert found["block.add1"] == {"stem.2": 1.0}  # what the last layer of the block makes
    assert found["pool"] == {"stem.2": 1.0}
    assert found["block.conv1.relu1"] == found["block.conv1"]


def test_a_name_that_is_no_modules_follows_the_whole_network() -> None:
    evenly = {"stem.0": 1 / 3, "stem.2": 1 / 3, "block.conv1": 1 / 3}
    assert parts_of(["logits", "reorder_17"], Net(), GROUPS) == {"logits": evenly, "reorder_17": evenly}


def test_layers_that_read_several_groups_share_them() -> None:
    """A concatenation: half of the inputs from each."""
    groups = (group("a", ("a", "out"), ("c", "in")), group("b", ("b", "out"), ("c", "in")))
    module = nn.ModuleDict({name: nn.Conv2d(8, 8, 1) for name in "abc"})
    assert parts_of(["c"], module, groups) == {"c": {"a": 0.5, "b": 0.5}}
