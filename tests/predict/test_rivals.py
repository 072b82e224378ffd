"""Rival architectures: which of several was trained is decided by labelled images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.preprocessing import Source
from edgecnn.data.tensors import TensorImages
from edgecnn.models import open_model
from edgecnn.predict.rivals import MOST_IMAGES, decided

EDGE = 48
PREPROCESSING = Preprocessing(crop=(EDGE, EDGE), resize=None)


def trained(name: str, path: Path) -> TensorImages:
    """A checkpoint of the network, and images that it answers all right."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=4, zero_init_last=False).eval()
    images = torch.rand(80, 3, EDGE, EDGE) * torch.rand(80, 3, 1, 1)
    with torch.no_grad():
        network.fc.weight *= 20
        network.fc.bias -= network(images).mean(0)
        labels = network(images).argmax(1)
    torch.save(network.state_dict(), path)
    ids = tuple(map(str, range(len(images))))
    return TensorImages(images.numpy(), tuple(labels.tolist()), ids, PREPROCESSING)


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
def test_the_network_that_explains_the_labels_is_taken(tmp_path: Path, name: str) -> None:
    images = trained(name, tmp_path / "c.pth")
    model = open_model(tmp_path / "c.pth", size=(EDGE, EDGE)).with_preprocessing(PREPROCESSING)
    assert (model.name, model.rivals) == ("torchvision:resnet18", ("timm:resnetblur18",))
    found, note = decided(model, Source(tmp_path / "c.pth"), images)
    assert found.name.endswith(f":{name}")
    assert found.input_shape == (3, EDGE, EDGE)
    assert f"{found.name} has {MOST_IMAGES} right: " in note.replace(",", ":")
    assert f"{found.name} was taken" in note


def test_labels_that_neither_explains_leave_the_plain_network(tmp_path: Path) -> None:
    images = trained("resnetblur18", tmp_path / "c.pth")
    assert images.labels is not None
    wrong = tuple((label + index) % 4 for index, label in enumerate(images.labels))
    other = TensorImages(images.arrays, wrong, images.ids, PREPROCESSING)
    model = open_model(tmp_path / "c.pth", size=(EDGE, EDGE)).with_preprocessing(PREPROCESSING)
    found, note = decided(model, Source(tmp_path / "c.pth"), other)
    assert found is model
    assert "torchvision:resnet18 was taken" in note
