"""What is said of networks that cannot be exported: the operator, the layer that computes it, and its line."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.onnx.export import export as to_onnx
from edgecnn.formats.tflite.conversion import converted

PREPROCESSING = Preprocessing(crop=(12, 12), resize=12, mean=(0.5,) * 3, std=(0.2,) * 3)
tflite = pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.largest = nn.AdaptiveMaxPool2d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.largest(x).flatten(1)


class Activated(nn.Module):
    """An operator that is called otherwise in the graph: aten.rrelu is decomposed on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.acts = nn.ModuleList([nn.ReLU(), nn.RReLU()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for act in self.acts:
            x = act(x)
        return x.mean((2, 3))


class Singular(nn.Module):
    """An operator that a function computes, in no layer of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x).mean(-1)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mean((2, 3))
        if x.sum() > 0:
            return x * 2
        return x


class Counting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(int(x.sum().item())):
            x = x + 1
        return x.mean((2, 3))


MISSING = [
    (Pooled, "aten.adaptive_max_pool2d", "by layer largest (AdaptiveMaxPool2d)", "return self.largest(x).flatten(1)"),
    (Activated, "aten.rrelu_with_noise", "by layer acts.1 (RReLU)", "x = act(x)"),
    (Singular, "aten._linalg_svd", "at test_export_errors.py:", "return torch.linalg.svdvals(x).mean(-1)"),
]
DATA_DEPENDENT = [(Branching, "if x.sum() > 0:"), (Counting, "for _ in range(int(x.sum().item())):")]


def refused(network: type[nn.Module], format: str, out: Path) -> StepError:
    module = network().eval()
    model: Any = SimpleNamespace(name="tests:net", input_shape=(3, 12, 12), module=lambda: module)
    with pytest.raises(StepError) as caught:
        to_onnx(model, out / "m.onnx", preprocessing=PREPROCESSING) if format == "onnx" else converted(module, model)
    return caught.value


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=tflite)])
@pytest.mark.parametrize(("network", "operator", "layer", "line"), MISSING)
def test_an_operator_that_the_format_lacks(
    format: str, network: type[nn.Module], operator: str, layer: str, line: str, tmp_path: Path
) -> None:
    error = refused(network, format, tmp_path)
    assert f"has no operator for this {operator}" in error.why
    assert layer in error.why and line in error.why
    assert "other operators" in error.hint


class Largest(nn.Module):
    """An operator that ONNX has, called in a way that it has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + x.amax()


def test_an_operator_that_the_exporter_cannot_translate(tmp_path: Path) -> None:
    error = refused(Largest, "onnx", tmp_path)
    assert "aten.amax" in error.why and "return x.mean((2, 3)) + x.amax()" in error.why
    assert "Required parameter 'dim'" in error.why


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=tflite)])
@pytest.mark.parametrize(("network", "line"), DATA_DEPENDENT)
def test_a_branch_that_the_image_decides(format: str, network: type[nn.Module], line: str, tmp_path: Path) -> None:
    error = refused(network, format, tmp_path)
    assert "test_export_errors.py:" in error.why and line in error.why
    assert "torch.where" in error.hint
