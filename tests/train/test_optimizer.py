"""What is trained at which rate: decay, stages, frozen modules, and the rate over the steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from colours import net, settings
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.train import optimizer, precision, schedule
from edgecnn.train.resnet_small import resnet_small


def names_of(module: nn.Module, group: dict[str, Any]) -> set[str]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return {known[id(parameter)] for parameter in group["params"]}


def test_scales_and_biases_are_not_shrunk() -> None:
    module = net()
    for kind, more in (("adamw", {}), ("sgd", {"momentum": 0.8})):
        built = optimizer.build(module, settings(optimizer=kind, weight_decay=0.1, **more))
        shrunk, kept = built.param_groups
        assert names_of(module, shrunk) == {"0.weight", "6.weight"}
        assert names_of(module, kept) == {"0.bias", "1.weight", "1.bias", "6.bias"}
        assert (shrunk["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
        assert shrunk.get("momentum", 0.8) == 0.8


def test_rates_fall_towards_the_input() -> None:
    module = resnet_small(10)
    built = optimizer.build(module, settings(layer_decay=0.5))
    optimizer.set_rate(built, 0.08)
    rate = {name: group["lr"] for group in built.param_groups for name in names_of(module, group)}
    # conv1 with bn1, six blocks of `blocks`, fc: a container is opened where there are few stages.
    assert rate["fc.weight"] == rate["fc.bias"] == 0.08
    assert rate["blocks.5.conv1.weight"] == 0.04
    assert rate["blocks.0.conv1.weight"] == 0.08 / 2**6
    assert rate["conv1.weight"] == rate["bn1.weight"] == 0.08 / 2**7
    optimizer.set_rate(plain := optimizer.build(module, settings()), 0.08)
    assert {group["lr"] for group in plain.param_groups} == {0.08}


def test_enough_stages_are_left_as_they_are() -> None:
    module = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(4)))
    assert [len(stage) for stage in optimizer.stages(module)] == [1, 1, 1, 1]
    alone = nn.Linear(2, 2)
    assert optimizer.build(alone, settings(layer_decay=0.5)).param_groups[0]["share"] == 1


def test_frozen_modules_and_their_norms() -> None:
    module = resnet_small(10)
    with optimizer.frozen(module, ["conv1", r"blocks\.[01]"]) as still:
        asleep = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
        assert "conv1.weight" in asleep
        assert "blocks.1.bn2.bias" in asleep
        assert not any(name.startswith(("blocks.2", "fc", "bn1")) for name in asleep)
        assert len(still) == 4
    assert all(parameter.requires_grad for parameter in module.parameters())
    with pytest.raises(InputError) as caught, optimizer.frozen(module, ["block"]):
        pass
    assert caught.value.code == "no-such-module"
    assert "blocks" in caught.value.hint
    with pytest.raises(InputError, match="no regular expression"), optimizer.frozen(module, ["("]):
        pass


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule.one_cycle(step, 100, warmup=0.3) for step in range(100)]
    assert max(rates) == rates[29] == 1.0
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[-1] < 0.001
    assert 0 < schedule.one_cycle(0, 1, warmup=0.3) <= 1


def test_cosine_after_a_straight_warm_up() -> None:
    rates = [schedule.cosine(step, 100, warmup=0.1) for step in range(100)]
    assert rates[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert schedule.cosine(0, 1, warmup=0.9) == 1.0
    assert [schedule.share(settings(schedule="constant"), step, 9) for step in range(9)] == [1.0] * 9
    assert schedule.share(settings(schedule="cosine", warmup=0.1), 55, 100) == rates[55]


def test_number_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    dense, depthwise = net(), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    assert precision.choose("off", dense, cpu) is None
    assert precision.choose("bf16", depthwise, cpu) is torch.bfloat16
    assert precision.choose("auto", dense, torch.device("cuda")) is torch.float16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert precision.choose("auto", dense, cpu) is torch.bfloat16
    assert precision.choose("auto", depthwise, cpu) is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert precision.choose("auto", dense, cpu) is None
    with pytest.raises(InputError) as caught:
        precision.choose("fp16", dense, cpu)
    assert caught.value.code == "fp16-without-cuda"
