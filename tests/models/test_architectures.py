"""Which architecture a checkpoint is of: named, found in a library, made by a factory, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from checkpoints import equal, stored, tv, user_module
from torch import nn

from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import open_model
from edgecnn.models.registry import Entry, Form, build_empty


def test_a_wrong_architecture_says_what_differs_and_what_fits(tmp_path: Path) -> None:
    path = stored(tmp_path, tv("squeezenet1_1", 3))
    with pytest.raises(InputError) as caught:
        open_model(path, architecture="squeezenet1_0")
    assert caught.value.code == "architecture-mismatch"
    assert "features.0.weight 64x3x3x3, the network has 96x3x7x7" in caught.value.why
    assert "torchvision:squeezenet1_1" in caught.value.hint


def test_nothing_fits_names_the_nearest_and_what_differs(tmp_path: Path) -> None:
    network = tv("squeezenet1_1", 3)
    network.extra = nn.Linear(2, 2)
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, network))
    assert caught.value.code == "unknown-architecture"
    assert "torchvision:squeezenet1_1: 2 not in the network: extra.weight, extra.bias" in caught.value.why
    assert "file.py:factory" in caught.value.hint


def test_weights_like_no_known_network(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, nn.ModuleDict({"peculiar": nn.Conv2d(3, 4, 3)})))
    assert "no known architecture has keys like peculiar.weight" in caught.value.why


def test_an_unknown_name_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, tv("squeezenet1_1", 3)), architecture="torchvision:squeezenet1_3")
    assert caught.value.code == "unknown-architecture"
    assert "squeezenet1_1" in caught.value.hint


@pytest.mark.parametrize("there", [True, False])
def test_training_heads_may_be_there_or_not(tmp_path: Path, there: bool) -> None:
    network = build_empty(Entry("torchvision", "googlenet"), Form(3, training_heads=there))
    for item in network.parameters():
        item.data.zero_()
    model = open_model(stored(tmp_path, network))
    assert (model.name, model.num_classes) == ("torchvision:googlenet", 3)
    assert any("transform_input" in note for note in model.notes)


@pytest.mark.parametrize(
    ("call", "width", "classes"),
    [("Net", 4, 10), ("Net(5, width=8)", 8, 5), ("Net.named('large', num_classes=6)", 8, 6)],
)
def test_a_factory_in_a_file(
    tmp_path: Path, user_file: Path, call: str, width: int, classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    network = user_module(user_file).Net(num_classes=classes, width=width)
    capsys.readouterr()
    model = open_model(stored(tmp_path, network), architecture=f"{user_file}:{call}")
    assert (model.name, model.num_classes) == (f"{user_file}:{call}", classes)
    assert any("224x224 was assumed" in note for note in model.notes)
    assert equal(model.module(), network)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("call", ["Net", "Net.named('small')"])
def test_a_factory_is_asked_for_the_classes_of_the_checkpoint(tmp_path: Path, user_file: Path, call: str) -> None:
    network = user_module(user_file).Net(num_classes=17)
    assert open_model(stored(tmp_path, network), architecture=f"{user_file}:{call}").num_classes == 17


def test_a_factory_whose_own_keys_look_like_a_prefix(tmp_path: Path, user_file: Path) -> None:
    network = user_module(user_file).Wrapped()
    assert equal(open_model(stored(tmp_path, network), architecture=f"{user_file}:Wrapped").module(), network)


def test_a_factory_in_a_package(tmp_path: Path) -> None:
    network = torchvision.models.squeezenet1_1(num_classes=4)
    model = open_model(stored(tmp_path, network), architecture="torchvision.models:squeezenet1_1")
    assert model.num_classes == 4


@pytest.mark.parametrize(
    ("reference", "code", "says"),
    [
        ("{file}:Nett", "no-such-factory", "did you mean 'Net'"),
        ("{file}:broken", "model-code-failed", "RuntimeError: no such luck (net.py, line"),
        ("{file}:number", "not-a-module", "int"),
        ("{file}:Net(width=wide)", "bad-model-reference", "literal"),
        ("{file}:Net(__import__('os'))", "bad-model-reference", "literal"),
        ("{file}", "bad-model-reference", ":FUNCTION"),
        ("{file}:Net(5, width=8)", "architecture-mismatch", "features.0.weight"),
        ("{file}:Two", "not-a-classifier", "tuple"),
        ("/nowhere/net.py:Net", "no-such-file", "/nowhere/net.py"),
        ("no_such_package_at_all:Net", "no-such-module", "PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_a_factory(tmp_path: Path, user_file: Path, reference: str, code: str, says: str) -> None:
    path = stored(tmp_path, user_module(user_file).Net())
    with pytest.raises((InputError, StepError)) as caught:
        open_model(path, architecture=reference.format(file=user_file))
    assert caught.value.code == code
    assert says in str(caught.value)


def test_timm_weights_without_timm_say_what_to_install(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    timm = pytest.importorskip("timm")
    path = stored(tmp_path, timm.create_model("mobilenetv3_small_050", num_classes=3))
    request.getfixturevalue("without_timm")
    for architecture in (None, "timm:mobilenetv3_small_050"):
        with pytest.raises(MissingError) as caught:
            open_model(path, architecture=architecture)
        assert caught.value.hint == install_hint("timm")


def test_torchvision_weights_without_timm_name_what_was_not_compared(tmp_path: Path, without_timm: None) -> None:
    model = open_model(stored(tmp_path, tv("resnet18", 3)))
    assert model.name == "torchvision:resnet18"
    assert any("timm:resnet18" in note and "not installed" in note for note in model.notes)


def test_a_timm_network_with_one_channel(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("mobilenetv3_small_050", num_classes=3, in_chans=1)
    model = open_model(stored(tmp_path, network))
    assert (model.name, model.input_shape) == ("timm:mobilenetv3_small_050", (1, 224, 224))
    assert model.preprocessing is None


def test_a_timm_network_brings_its_preprocessing(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    path = stored(tmp_path, timm.create_model("tf_efficientnet_lite0", num_classes=3))
    model = open_model(path, architecture="timm:tf_efficientnet_lite0")
    assert model.preprocessing_source == "timm"
    assert model.preprocessing == Preprocessing(interpolation="bicubic", resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_equal_networks_of_two_libraries_are_one(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = open_model(stored(tmp_path, tv("resnet34", 3)))
    assert model.name == "torchvision:resnet34"
    assert any("timm:resnet34 computes the same" in note for note in model.notes)


def test_of_different_networks_with_equal_weights_the_plain_one_is_taken_and_it_says_so(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = open_model(stored(tmp_path, tv("resnet18", 3)))
    assert (model.name, model.rivals) == ("torchvision:resnet18", ("timm:resnetblur18",))
    assert any("timm:resnetblur18" in note and "the plain one" in note and "--model" in note for note in model.notes)


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
def test_the_graph_of_an_export_tells_networks_with_equal_weights_apart(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, num_classes=3).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 64, 64),)), tmp_path / "c.pt2")
    model = open_model(tmp_path / "c.pt2")
    assert model.name.endswith(f":{name}")
    assert (model.rivals, model.input_shape) == ((), (3, 64, 64))
    assert any("graph in the file" in note for note in model.notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
def test_recorded_statistics_tell_networks_with_equal_weights_apart(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm")
    from sklearn.datasets import load_sample_image

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    image = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).float() / 255
    views = torch.stack([image[:, top : top + 160, left : left + 160] for top in (0, 250) for left in (0, 200, 400)])
    with torch.no_grad():
        network.train()((views - 0.5) / 0.5)
    model = open_model(stored(tmp_path, network))
    assert model.name.endswith(f":{name}")
    assert any("batch-norm statistics" in note for note in model.notes)
