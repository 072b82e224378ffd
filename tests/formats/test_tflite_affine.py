"""Scales and shifts for each channel in TFLite: one depthwise convolution, the same function, a scale per channel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.quantize_stage import Quantize

pytest.importorskip("litert_torch")

from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.export import export
from edgecnn.formats.tflite.quantize import quantize

PREPROCESSING = Preprocessing(crop=(8, 8), resize=8)


class Affine(nn.Module):
    """A scale, an offset before it and one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.scale, self.behind = (nn.Parameter(torch.randn(1, 6, 1, 1)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind + (x - self.before) * self.scale


class Opening(nn.Module):
    """A residual block that a batch norm opens, whose channel 2 never carries anything; then an affine layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.affine, self.head = Affine(), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.conv(torch.relu(self.norm(x)))
        return self.head(torch.relu(self.affine(x)).mean((2, 3)))


def opening() -> nn.Module:
    torch.manual_seed(0)
    net = Opening()
    with torch.no_grad():
        net.stem.weight[2] = 0
        net.conv.weight[2] = 0
        net.norm.weight.uniform_(0.5, 1.5)
        net.norm.bias.uniform_(-0.3, 0.3)
        net.norm.momentum = None
        net(torch.from_numpy(pixels()))
    return net.eval()


def pixels(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)


class Images:
    digest, labels, ids = "noise", None, ()

    def __len__(self) -> int:
        return 40

    def batches(self, size: int) -> Any:
        return (image[None] for image in pixels())


def answers(path: Path) -> np.ndarray:
    loaded = flatbuffer.interpreter(path, delegate=True)
    rows = []
    for image in pixels():
        loaded.set_tensor(loaded.get_input_details()[0]["index"], image.transpose(1, 2, 0)[None].copy())
        loaded.invoke()
        rows.append(loaded.get_tensor(loaded.get_output_details()[0]["index"])[0])
    return np.array(rows)


def test_one_convolution_for_a_chain_in_float_and_in_int8(tmp_path: Path) -> None:
    network = opening()
    model: Any = SimpleNamespace(name="tests:opening", num_classes=5, input_shape=(3, 8, 8), module=lambda: network)
    source = export(model, tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels())).numpy()
    np.testing.assert_allclose(answers(source.path), expected, atol=1e-4, rtol=1e-4)
    graph = flatbuffer.Graph.read(source.path)
    kinds = [graph.op(operator) for operator in graph.operators]
    assert kinds.count("DEPTHWISE_CONV_2D") == 2
    assert not {"SUB", "MUL", "DIV"} & set(kinds) and kinds.count("ADD") == 1, "the residual sum stays"
    context: Any = SimpleNamespace(listener=ignore, scratch=tmp_path, data=SimpleNamespace(calibration=Images()))
    made = quantize(source, tmp_path / "model.int8.tflite", options=Quantize(), context=context)
    noise = np.square(answers(made.path) - expected).sum()
    assert 10 * np.log10(np.square(expected).sum() / noise) > 20


def test_one_number_for_all_channels_is_left_as_it_is(tmp_path: Path) -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.sigmoid(self.conv(x)) * 2 - 1).mean((2, 3))

    network = Doubled().eval()
    model: Any = SimpleNamespace(name="tests:doubled", num_classes=5, input_shape=(3, 8, 8), module=lambda: network)
    graph = flatbuffer.Graph.read(export(model, tmp_path / "model.tflite", preprocessing=PREPROCESSING).path)
    assert "DEPTHWISE_CONV_2D" not in [graph.op(operator) for operator in graph.operators]
