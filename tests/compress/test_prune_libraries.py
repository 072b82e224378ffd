"""Networks of the libraries that torch-pruning 1.6.1 fails on, at a small size: what can be pruned of them is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.compress.prune.algorithm import PruneTarget, groups, prune
from edgecnn.compress.prune.group import Pruned, Ranking
from edgecnn.core.quantities import Amount
from edgecnn.models.cost import count_macs


def pruned(module: nn.Module, side: int, *, kept: float = 0.6, round_to: int = 8) -> Pruned:
    example = torch.zeros(1, 3, side, side)
    before = module.eval()(example).shape
    made = prune(module, example, PruneTarget("macs", Amount(kept)), ranking=Ranking(round_to=round_to))
    assert made.module(example).shape == before
    assert made.facts["macs"]["after"] <= kept * made.facts["macs"]["before"]
    return made


def from_timm(name: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: nn.Module = timm.create_model(name, num_classes=7)
        return made


def from_torchvision(name: str) -> nn.Module:
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=7)
        return made


@pytest.mark.slow
def test_shufflenet_v2() -> None:
    """ZeroDivisionError in the library."""
    made = pruned(from_torchvision("shufflenet_v2_x0_5"), 64)
    assert any("torch-pruning cannot" in why for why in made.unpruned.values())
    assert made.facts["pruned_layers"] >= 16


def test_squeezenet() -> None:
    """The library prunes the classes; 7 of them would even be too few to notice."""
    made = pruned(from_torchvision("squeezenet1_1"), 64)
    assert set(made.unpruned) >= {"classifier.1"}
    assert "one for each class" in made.unpruned["classifier.1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edgenext_xx_small", "fastvit_t8", "efficientvit_m0", "efficientvit_b0"])
def test_mobile_vision_transformers(name: str) -> None:
    """IndexError in the library; attention stays whole, what lies around it goes."""
    example = torch.zeros(1, 3, 224 if name == "efficientvit_m0" else 64, 64)
    module = from_timm(name)
    if name == "efficientvit_m0":  # its windows need its own size
        example = torch.zeros(1, 3, 224, 224)
    found = groups(module, example, ranking=Ranking(round_to=8))
    assert len(found) >= 4
    assert len(found.unpruned) >= 1
    with torch.no_grad():
        assert module.eval()(example).shape == (1, 7)


def test_macs_of_a_convolution_class_of_their_own_count() -> None:
    """EfficientNet-Lite0: the library counts 21 million; the paper says 407 million."""
    module = from_timm("tf_efficientnet_lite0")
    assert count_macs(module, (1, 3, 224, 224)) == pytest.approx(385e6, rel=0.03)


@pytest.mark.slow
def test_densenet_stays_within_memory() -> None:
    """What the library follows path by path is followed channel by channel."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = groups(from_torchvision("densenet121"), torch.zeros(1, 3, 64, 64), ranking=Ranking(round_to=8))
    assert len(found) == 120
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 1500


@pytest.mark.slow
def test_swin_stays_within_memory() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = groups(from_torchvision("swin_t"), torch.zeros(1, 3, 64, 64), ranking=Ranking(round_to=8))
    assert len(found) == 12
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 1500
