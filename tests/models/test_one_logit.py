"""One-logit heads: two classes, wherever a network is opened or built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.models import open_model, save
from edgecnn.models.building import build
from edgecnn.models.one_logit import as_two_classes
from edgecnn.models.open import in_memory

CODE = """
from torch import nn
def net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
"""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)).eval()


def test_softmax_is_the_sigmoid_and_the_losses_are_equal() -> None:
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 1, 0, 1, 0])
    logit, scores = network()(images), as_two_classes(network())(images)
    assert torch.allclose(scores.softmax(1)[:, 1:], logit.sigmoid())
    binary = nn.functional.binary_cross_entropy_with_logits(logit[:, 0], labels.float())
    assert torch.allclose(nn.functional.cross_entropy(scores, labels), binary)


def test_a_checkpoint_opens_as_two_classes_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    torch.save({"state_dict": network().state_dict(), "class_names": ["cat", "dog"]}, tmp_path / "c.pth")
    model = open_model(tmp_path / "c.pth", architecture=f"{tmp_path}/net.py:net")
    assert (model.num_classes, model.class_names) == (2, ("cat", "dog"))
    assert any("sigmoid is above 0.5" in note for note in model.notes)
    assert model.module()(torch.zeros(3, 3, 32, 32)).shape == (3, 2)
    assert model.module().state_dict().keys() == network().state_dict().keys()


def test_a_module_in_memory_is_left_as_it_is() -> None:
    mine = network()
    model = in_memory(mine)
    assert (model.num_classes, model.module()(torch.zeros(1, 3, 32, 32)).shape[1]) == (2, 2)
    assert mine(torch.zeros(1, 3, 32, 32)).shape[1] == 1


def test_a_number_that_is_no_class_stays_one(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    torch.save(network().state_dict(), tmp_path / "c.pth")
    model = open_model(tmp_path / "c.pth", architecture=f"{tmp_path}/net.py:net", classifies=False)
    assert model.num_classes == 1
    assert not any("sigmoid" in note for note in model.notes)
    assert in_memory(network(), classifies=False).num_classes == 1
    save(tmp_path / "own.safetensors", network(), architecture="net", num_classes=1)
    assert open_model(tmp_path / "own.safetensors", architecture=f"{tmp_path}/net.py:net").num_classes == 1


def test_an_export_holds_both_scores() -> None:
    program = torch.export.export(in_memory(network()).module(), (torch.zeros(2, 3, 32, 32),))
    assert program.module()(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


def test_what_was_trained_for_two_classes_is_saved_and_opens_again(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    built = build(f"{tmp_path}/net.py:net", num_classes=2)
    save(tmp_path / "c.safetensors", built.module, architecture=built.architecture, num_classes=2)
    model = open_model(tmp_path / "c.safetensors", architecture=built.architecture)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.module()(image), built.module.eval()(image))


def test_more_classes_than_two_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    with pytest.raises(InputError) as caught:
        build(f"{tmp_path}/net.py:net", num_classes=3)
    assert caught.value.code == "class-count"
