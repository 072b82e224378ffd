"""Norms, roots and pooling of squares stay in float as a whole: quantized one by one they lose what they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.quantize.islands import IslandOperator, float_islands


def step(layer: str, *reads: str, joins: bool = True, steep: bool = False) -> IslandOperator:
    return IslandOperator(layer, reads, (f"{layer}_out",), joins, steep)


def test_an_island_reaches_from_its_entrance_to_what_the_steep_operator_leads_to() -> None:
    graph = [
        step("conv", "input", joins=False),
        step("square", "conv_out"),
        step("unrelated", "conv_out"),
        step("mean", "square_out"),
        step("root", "mean_out", steep=True),
        step("scaled", "conv_out", "root_out"),
        step("next", "scaled_out", joins=False),
        step("relu", "next_out"),
    ]
    assert float_islands(graph) == ["square", "mean", "root", "scaled"]


def test_a_sum_of_two_branches_is_an_entrance() -> None:
    graph = [
        step("one", "input", joins=False),
        step("two", "input", joins=False),
        step("sum", "one_out", "two_out"),
        step("exp", "sum_out", steep=True),
        step("join", "exp_out", "one_out"),
    ]
    assert float_islands(graph) == ["exp"]


def test_a_root_over_pooled_squares_stays_in_float_in_onnx(net: Any, int8: Callable[..., Any]) -> None:
    first = net.op("Relu", [net.conv("input", "first")], "act")
    square = net.op("Mul", [first, first], "square")
    pooled = net.op("AveragePool", [square], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    root = net.op("Sqrt", [pooled], "root")
    made = int8(net.model(net.classify(net.conv(root, "second"))))
    quantized = {node.input[0] for node in made.nodes("QuantizeLinear")}
    assert {"act_out", "root_out"} <= quantized and not {"square_out", "pooled_out"} & quantized
    assert made.sqnr_db() > 25


def test_a_plain_power_is_no_island_in_onnx(net: Any, int8: Callable[..., Any]) -> None:
    first = net.op("Relu", [net.conv("input", "first")], "act")
    cube = net.op("Pow", [net.op("Mul", [first, first], "square"), net.constant("three", np.float32(3))], "cube")
    made = int8(net.model(net.classify(net.conv(cube, "second"))))
    assert "square_out" in {node.input[0] for node in made.nodes("QuantizeLinear")}


class Lengths(nn.Module):
    """Divides by the length over the channels, as written by hand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().sum(1, keepdim=True) + 1e-5).sqrt()


class GappedPools(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.lp_pool2d(F.max_pool2d(x, 3, 1, 1, dilation=2), 2.0, 2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GroupNorm(2, 8),
        pytest.param(nn.InstanceNorm2d(8, affine=True), marks=pytest.mark.slow),
        pytest.param(Lengths(), marks=pytest.mark.slow),
        GappedPools(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_norms_and_pools_in_tflite(images: Any, tmp_path: Path, layer: nn.Module) -> None:
    pytest.importorskip("litert_torch")
    from edgecnn.formats.tflite import flatbuffer
    from edgecnn.formats.tflite.export import export
    from edgecnn.formats.tflite.quantize import quantize

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3), layer, nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()
    model: Any = SimpleNamespace(name="tests:norm", num_classes=5, input_shape=(8, 12, 12), module=lambda: network)
    source = export(model, tmp_path / "model.tflite", preprocessing=Preprocessing(crop=(12, 12), resize=12))
    context: Any = SimpleNamespace(listener=ignore, scratch=tmp_path, data=SimpleNamespace(calibration=images))
    made = quantize(source, tmp_path / "model.int8.tflite", options=Quantize(), context=context)
    loaded = flatbuffer.interpreter(made.path, delegate=True)
    rows = []
    for image in images.array():
        loaded.set_tensor(loaded.get_input_details()[0]["index"], image.transpose(1, 2, 0)[None].copy())
        loaded.invoke()
        rows.append(loaded.get_tensor(loaded.get_output_details()[0]["index"])[0])
    with torch.no_grad():
        expected = network(torch.from_numpy(images.array())).numpy()
    assert 10 * np.log10((expected**2).sum() / ((np.array(rows) - expected) ** 2).sum()) > 25
