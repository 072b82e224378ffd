"""Which layers suffer most from INT8, and that they can stay in float in every format."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.compress.sensitivity import rank_layers
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context

LAYERS = ("features.0", "features.3", "features.6", "fc")
HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
        Deployment(format="tflite", backend="tflite", family="litert"),
    ),
)


class Noise:
    """Images of noise; satisfies `core.stage.Images`."""

    digest, labels = "noise", None

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def take(self, count: int) -> Noise:
        return Noise(min(count, self.count))

    def batches(self, size: int):
        pixels = np.random.default_rng(0).normal(size=(self.count, 3, 16, 16)).astype(np.float32)
        yield from (pixels[start : start + size] for start in range(0, self.count, size))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 1), nn.ReLU()),
        )
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def spoiled(layer: str) -> nn.Module:
    """One weight of each channel far larger than the others: the channel's grid is too coarse for those."""
    torch.manual_seed(0)
    network = Small()
    weight = network.get_submodule(layer).weight
    with torch.no_grad():
        weight.view(weight.shape[0], -1)[:, 0] = 30.0
    return network.eval()


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("layer", ["features.3", "fc"])
def test_the_layer_spoiled_on_purpose_is_ranked_first(tmp_path: Path, layer: str, format: str) -> None:
    model = SimpleNamespace(name="t", num_classes=4, input_shape=(3, 16, 16), sha256="", module=lambda: spoiled(layer))
    data = SimpleNamespace(
        calibration=Noise(8), preprocessing=Preprocessing(resize=None, crop=(16, 16)), evaluation=None
    )
    context = Context(tmp_path, tmp_path, model, data, HOST, format, lambda event: None, 0, model)
    found = rank_layers(context, count=4)
    assert set(found) == set(LAYERS)
    assert next(iter(found)) == layer
    assert list(found.values()) == sorted(found.values(), reverse=True)
