"""Whole architectures: every layer of ResNet-50, MobileNetV2 and a small DenseNet is an integer kernel in ONNX Runtime.

Random weights and made-up ranges: fusion depends on the structure alone. So the quick ResNet-50 has bottlenecks a
quarter as wide; the full one is checked among the slow tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import nn
from torchvision.models import DenseNet, mobilenet_v2, resnet50

from edgecnn.core.artifact import Artifact
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.onnx.export import export
from edgecnn.formats.onnx.lint import lint
from edgecnn.formats.onnx.norms import norms_to_convs
from edgecnn.formats.onnx.placement import FAMILIES, place
from edgecnn.formats.onnx.qdq import write
from edgecnn.quantize.ranges import Range, RangeTable


@dataclass(frozen=True)
class RandomModel:
    name: str
    make: Callable[[], nn.Module]
    num_classes: int = 1000
    input_shape: tuple[int, int, int] = (3, 64, 64)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make().eval()


def quantized(model: RandomModel, folder: Path) -> Path:
    source = export(model, folder / "model.onnx", preprocessing=Preprocessing())
    graph = ir.load(source.path)
    placement = FAMILIES["onnxruntime"]
    norms_to_convs(graph.graph)
    places = place(graph.graph, placement)
    clipped = {str(value.name) for node in graph.graph for value in node.outputs if node.op_type in ("Relu", "Clip")}
    ranges = {name: Range(0.0 if name in clipped else -3.0, 6.0) for name in places.observed()}
    write(graph, places, placement=placement, ranges=RangeTable(ranges), weight_bits=8)
    ir.save(graph, folder / "int8.onnx")
    return folder / "int8.onnx"


def linted(path: Path) -> Fusion:
    return lint(Artifact(path, "onnx", "int8", (), (), ""))


RESNET_50 = {
    "QLinearConv": 53,
    "QLinearAdd": 16,
    "QGemm": 1,
    "QLinearGlobalAveragePool": 1,
    "MaxPool": 1,
    "Reshape": 1,
    "QuantizeLinear": 1,
}
GOLDEN = {
    RandomModel("resnet50-quarter-width", lambda: resnet50(width_per_group=16)): RESNET_50,
    RandomModel("resnet50", resnet50): RESNET_50,
    RandomModel("mobilenet_v2", mobilenet_v2): {
        "QLinearConv": 52,
        "QLinearAdd": 10,
        "QGemm": 1,
        "QLinearGlobalAveragePool": 1,
        "Reshape": 1,
        "QuantizeLinear": 1,
    },
    # Per dense layer: a batch norm nothing could take in, two convolutions and a concatenation.
    RandomModel("densenet", lambda: DenseNet(8, (2, 2), 16)): {
        "QLinearConv": 1 + 4 * 3 + 2 + 1,
        "QLinearConcat": 4,
        "QLinearAveragePool": 1,
        "QGemm": 1,
        "QLinearGlobalAveragePool": 1,
        "MaxPool": 1,
        "Reshape": 1,
        "QuantizeLinear": 1,
    },
}


SLOW = dict.fromkeys(("resnet50", "resnet50-quarter-width", "mobilenet_v2"), (pytest.mark.slow,))


@pytest.mark.parametrize(
    "model", [pytest.param(model, id=model.name, marks=SLOW.get(model.name, ())) for model in GOLDEN]
)
def test_every_layer_is_fused(model: RandomModel, tmp_path: Path) -> None:
    found = linted(quantized(model, tmp_path))
    assert found.counts == GOLDEN[model], "exactly these operators run"
    assert (found.float_layers, found.warnings) == ((), ())
    assert found.floating == 0
