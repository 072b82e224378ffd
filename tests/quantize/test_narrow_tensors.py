"""Tensors whose values are tiny are quantized as finely as any other: later layers may scale them up again."""

from __future__ import annotations

from collections.abc import Callable
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

CLOSE_DB = 25.0
FAINT = (1e-4, 1e-5, 1e-7)


@pytest.mark.parametrize("faint", FAINT)
@pytest.mark.parametrize("family", ["onnxruntime", "tensorrt"])
def test_faint_tensors_survive_in_onnx(net: Any, int8: Callable[..., Any], faint: float, family: str) -> None:
    scaled = net.op("Mul", [net.conv("input", "stem"), net.constant("faint", np.float32(faint))], "fainter")
    middle = net.op("Relu", [net.conv(scaled, "middle")], "act")
    for tensor in net.constants:
        if tensor.name == "middle.bias":
            tensor.CopyFrom(_scaled(tensor, faint))
    loud = net.op("Mul", [middle, net.constant("loud", np.float32(1 / faint))], "louder")
    made = int8(net.model(net.conv(loud, "last")), family)
    assert made.sqnr_db() > CLOSE_DB


def _scaled(tensor: Any, factor: float) -> Any:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    return numpy_helper.from_array((values * factor).astype(np.float32), tensor.name)


def faint_network(faint: float) -> nn.Module:
    torch.manual_seed(0)
    first, second, third = nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 5, 8, bias=False)
    with torch.no_grad():
        first.weight *= faint
        assert second.bias is not None
        second.bias *= faint
        third.weight /= faint
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.Flatten()).eval()


@pytest.mark.parametrize("faint", [1e-5, pytest.param(1e-7, marks=pytest.mark.slow)])
def test_faint_tensors_survive_in_tflite(images: Any, tmp_path: Path, faint: float) -> None:
    pytest.importorskip("litert_torch")
    from edgecnn.formats.tflite import flatbuffer
    from edgecnn.formats.tflite.export import export
    from edgecnn.formats.tflite.quantize import quantize

    network = faint_network(faint)
    model: Any = SimpleNamespace(name="tests:faint", num_classes=5, input_shape=(8, 12, 12), module=lambda: network)
    preprocessing = Preprocessing(crop=(12, 12), resize=12)
    source = export(model, tmp_path / "model.tflite", preprocessing=preprocessing)
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
    assert 10 * np.log10((expected**2).sum() / ((np.array(rows) - expected) ** 2).sum()) > CLOSE_DB
