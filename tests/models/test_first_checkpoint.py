"""The first command on one's own checkpoint: every form in which people keep one, with and without timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tv
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.models import open_model

State = dict[str, torch.Tensor]
CLASSES = 3


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return tv("resnet18", CLASSES)


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def zeros(state: State) -> State:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def half(state: State) -> State:
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def in_lightning(state: State, **beside: torch.Tensor) -> dict[str, Any]:
    named = {key.replace("__", "."): value for key, value in beside.items()}
    return {"state_dict": {**state, **named}, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.5.0"}


def hugging_face(state: State) -> State:
    """The names of transformers' ResNetForImageClassification (modeling_resnet.py)."""
    names = {"conv": "convolution", "bn": "normalization", "downsample.0": "convolution"}
    found = {}
    for key, value in state.items():
        module, _, tensor = key.rpartition(".")
        parts = module.split(".")
        if parts[0] == "fc":
            new = "classifier.1"
        elif parts[0] in ("conv1", "bn1"):
            new = f"resnet.embedder.embedder.{names[parts[0][:-1]]}"
        else:
            place = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
            if parts[2] == "downsample":
                new = f"{place}.shortcut.{('convolution', 'normalization')[int(parts[3])]}"
            else:
                new = f"{place}.layer.{int(parts[2][-1]) - 1}.{names[parts[2][:-1]]}"
        found[f"{new}.{tensor}"] = value
    return found


FORMS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    **{
        f"dict-{name}": (lambda state, name=name: {name: state, "epoch": 3, "optimizer": {"state": {}}})
        for name in ("model_state_dict", "state_dict", "model", "net", "ema", "model_ema", "weights", "classifier")
    },
    "nested": lambda state: {"model": {"state_dict": state}, "epoch": 1},
    "ddp": lambda state: {"state_dict": under("module.", state)},
    "compiled": lambda state: under("_orig_mod.", state),
    "compiled-ddp": lambda state: under("module._orig_mod.", state),
    "compiled-layers": lambda state: {key.replace("layer1.0.", "layer1.0._orig_mod."): v for key, v in state.items()},
    "fp16": half,
    "averaged": lambda state: {"model_ema": {"n_averaged": torch.tensor(3), **under("module.", state)}},
    "profiled": lambda state: {**state, "total_ops": torch.zeros(1), "layer1.0.conv1.total_ops": torch.zeros(1)},
    "lightning": lambda state: in_lightning(under("net.", state), criterion__weight=torch.ones(CLASSES)),
    "lightning-model": lambda state: in_lightning(under("model.", state), criterion__weight=torch.ones(CLASSES)),
    "lightning-backbone": lambda state: in_lightning(under("backbone.", state), train_acc__tp=torch.zeros(3)),
    "lightning-deep": lambda state: in_lightning(under("model.net._orig_mod.", state), loss__w=torch.ones(2)),
    "loss-beside": lambda state: {**state, "criterion.weight": torch.ones(CLASSES)},
    "teacher": lambda state: {**under("teacher.", zeros(state)), **under("student.", state)},
    "average-beside": lambda state: {**under("ema_model.module.", zeros(state)), **under("online_model.", state)},
    "hugging-face": hugging_face,
    "hugging-face-timm": lambda state: under("timm_model.", state),
}


def opens(folder: Path, network: nn.Module, form: str, architecture: str | None = None) -> None:
    state = network.state_dict()
    torch.save(FORMS[form](dict(state)), folder / "c.pth")
    model = open_model(folder / "c.pth", architecture=architecture, size=(32, 32))
    assert model.name == (architecture if architecture and ":" in architecture else "torchvision:resnet18")
    assert model.num_classes == CLASSES
    opened = model.module().state_dict()
    assert all(torch.allclose(value.float(), opened[key].float(), atol=1e-3) for key, value in state.items())


@pytest.mark.parametrize("form", FORMS)
def test_it_opens_with_timm(tmp_path: Path, network: nn.Module, form: str) -> None:
    pytest.importorskip("timm")
    opens(tmp_path, network, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", [None, "resnet18", "torchvision.models:resnet18"])
def test_it_opens_without_timm(
    tmp_path: Path, network: nn.Module, form: str, architecture: str | None, without_timm: None
) -> None:
    opens(tmp_path, network, form, architecture)


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_another_part_may_be_asked_for(tmp_path: Path, network: nn.Module, name: str) -> None:
    torch.save(FORMS["teacher"](dict(network.state_dict())), tmp_path / "c.pth")
    model = open_model(tmp_path / "c.pth", weights=name)
    assert bool(model.module().state_dict()["conv1.weight"].any()) == (name == "student")


def test_what_is_left_is_named(tmp_path: Path, network: nn.Module) -> None:
    torch.save(FORMS["lightning"](dict(network.state_dict())), tmp_path / "c.ckpt")
    notes = open_model(tmp_path / "c.ckpt", architecture="resnet18").notes
    assert "the network lies behind 'net.'; 1 tensors of the file are not used: criterion.weight" in notes
    torch.save(FORMS["teacher"](dict(network.state_dict())), tmp_path / "c.ckpt")
    assert any("--weights" in note and "teacher." in note for note in open_model(tmp_path / "c.ckpt").notes)


@pytest.mark.parametrize(
    "more",
    [
        {"head.weight": torch.zeros(5, CLASSES), "head.bias": torch.zeros(5)},
        {"classifier.1.weight": torch.zeros(2, CLASSES)},
    ],
    ids=["head", "sequential"],
)
def test_a_network_that_is_a_part_of_another_is_not_taken_for_it(
    tmp_path: Path, network: nn.Module, more: State
) -> None:
    torch.save({**under("backbone.", dict(network.state_dict())), **more}, tmp_path / "c.pth")
    with pytest.raises(InputError) as caught:
        open_model(tmp_path / "c.pth")
    assert caught.value.code == "unknown-architecture"
    assert "def net(" in caught.value.hint


@pytest.mark.parametrize(
    "extra", ["layer1.0.attention.weight", "layer2.extra.weight", "fc.scale"], ids=["block", "layer", "head"]
)
@pytest.mark.parametrize("architecture", [None, "resnet18"])
def test_layers_that_the_network_has_not_are_not_left_aside(
    tmp_path: Path, network: nn.Module, extra: str, architecture: str | None
) -> None:
    torch.save({**network.state_dict(), extra: torch.zeros(3, 3)}, tmp_path / "c.pth")
    with pytest.raises(InputError) as caught:
        open_model(tmp_path / "c.pth", architecture=architecture)
    assert extra in caught.value.why


def test_a_wrapper_takes_the_weights_of_what_it_wraps(tmp_path: Path, user_file: Path) -> None:
    from checkpoints import equal, user_module

    network = user_module(user_file).Wrapped()
    torch.save(network.model.state_dict(), tmp_path / "c.pth")
    assert equal(open_model(tmp_path / "c.pth", architecture=f"{user_file}:Wrapped").module(), network)
