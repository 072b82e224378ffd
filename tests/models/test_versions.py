"""Versions of a state: modules that keep one load with and without the file's."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import equal, tv
from torch import nn

from edgecnn.models import open_model
from edgecnn.models.versions import load_state, versions_in
from edgecnn.train.best_weights import BestWeights


class Versioned(nn.Module):
    """Takes nothing for an answer about its version, as torchvision's MNASNet does."""

    _version = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *more: Any) -> None:
        self.told = metadata["version"]
        super()._load_from_state_dict(state, prefix, metadata, *more)


@pytest.mark.parametrize("form", ["bare", "no-versions", "ddp", "safetensors"])
@pytest.mark.parametrize("architecture", [None, "mnasnet0_5", "torchvision.models:mnasnet0_5"])
def test_mnasnet_opens(tmp_path: Path, form: str, architecture: str | None) -> None:
    from safetensors.torch import save_file

    network, path = tv("mnasnet0_5", 3), tmp_path / "c.pth"
    if form == "safetensors":
        save_file(network.state_dict(), path)
    else:
        state: Any = network.state_dict(prefix="module." if form == "ddp" else "")
        torch.save(dict(state) if form == "no-versions" else state, path)
    assert equal(open_model(path, architecture=architecture).module(), network)


def test_what_the_file_says_of_a_version_is_passed_on() -> None:
    network = nn.Sequential(Versioned(), Versioned())
    load_state(network, network.state_dict(), {"1": {"version": 2}})
    assert [item.told for item in network] == [3, 2]


def test_the_best_weights_of_a_training_are_restored_into_such_a_network() -> None:
    network = nn.Sequential(Versioned())
    best = BestWeights(network)
    nn.init.zeros_(network[0].weight)
    best.restore(network)
    assert network[0].weight.tolist() == [1, 1]


@pytest.mark.parametrize(
    "metadata", [None, 3, {"": None}, {"a": {"version": "2"}}, {"a": [1]}, {"a": {"version": True}}]
)
def test_versions_that_make_no_sense_are_left_aside(metadata: Any) -> None:
    state: Any = OrderedDict()
    state._metadata = metadata
    assert versions_in(state) == {}
