"""Resizing as PyTorch computes it: the pixels by PyTorch's own word, and the file in LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.resize import exact_resize

PREPROCESSING = Preprocessing(crop=(12, 9), resize=12, mean=(0.5,) * 3, std=(0.2,) * 3)
ASKED: tuple[dict[str, Any], ...] = (
    {"scale_factor": 1.5},
    {"scale_factor": (1.5, 2.25)},
    {"scale_factor": 0.6},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
    {"size": (17, 5)},
    {"size": 11},
)


@pytest.mark.parametrize("shape", [(1, 2, 23, 19), (2, 1, 7, 12), (1, 3, 64, 33)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("asked", ASKED)
def test_what_is_written_is_what_pytorch_computes(shape: tuple[int, ...], mode: str, asked: dict[str, Any]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = exact_resize(image, mode=mode, **asked)
    if found is not None:
        torch.testing.assert_close(found, interpolate(image, mode=mode, **asked), atol=1e-5, rtol=1e-5)
    else:
        assert mode == "bilinear", "nearest resizing by these factors is never the converter's"


@pytest.mark.parametrize(
    "asked",
    [
        {"scale_factor": 2},
        {"scale_factor": 4.0, "mode": "nearest"},
        {"size": (20, 30), "mode": "bilinear"},
        {"scale_factor": 1.5, "mode": "bilinear"},
        {"scale_factor": 1.5, "mode": "bicubic"},
        {"size": (13, 7), "mode": "nearest-exact"},
        {"size": (13, 7), "mode": "bilinear", "align_corners": True},
    ],
)
def test_what_the_converter_does_right_is_left_to_it(asked: dict[str, Any]) -> None:
    assert exact_resize(torch.zeros(1, 2, 10, 20), **asked) is None


class Resizing(nn.Module):
    """Three resizings, each of which the converter would compute from other pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.last = nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=1.5), nn.Conv2d(4, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = interpolate(self.up(self.stem(x)), size=(11, 10))
        return self.last(interpolate(x, scale_factor=1.3, mode="bilinear")).amax((2, 3))


def test_the_file_computes_what_pytorch_computes(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from edgecnn.formats.tflite.export import export

    torch.manual_seed(0)
    network = Resizing().eval()
    module: Callable[[], nn.Module] = lambda: network  # noqa: E731
    model: Any = SimpleNamespace(name="tests:resizing", num_classes=5, input_shape=(3, 12, 9), module=module)
    artifact = export(model, tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    image = torch.randn(1, 3, 12, 9, generator=torch.Generator().manual_seed(1))
    loaded = flatbuffer.interpreter(artifact.path, delegate=True)
    loaded.set_tensor(loaded.get_input_details()[0]["index"], image.permute(0, 2, 3, 1).contiguous().numpy())
    loaded.invoke()
    with torch.no_grad():
        expected = network(image).numpy()
    np.testing.assert_allclose(loaded.get_tensor(loaded.get_output_details()[0]["index"]), expected, atol=1e-5)
