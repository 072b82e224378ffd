"""Activations of several TFLite operators stay in float as a whole, and only they."""

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
from edgecnn.formats.tflite.islands import float_islands
from edgecnn.formats.tflite.lint import lint
from edgecnn.formats.tflite.quantize import quantize


class Net(nn.Module):
    """One activation after the other, a residual sum around one of them, and a softmax over all positions."""

    def __init__(self) -> None:
        super().__init__()
        kinds = (nn.ELU(), nn.Softplus(), nn.Mish(), nn.LogSigmoid(), nn.SELU())
        self.convs = nn.ModuleList(nn.Conv2d(3 if place == 0 else 6, 6, 3, padding=1) for place in range(len(kinds)))
        self.acts, self.weigh, self.head = nn.ModuleList(kinds), nn.Conv2d(6, 1, 1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, act in zip(self.convs, self.acts, strict=True):
            x = act(3 * conv(x)) if x.shape[1] == 3 else x + act(3 * conv(x))
        share = self.weigh(x).flatten(2).softmax(-1)
        return self.head((x.flatten(2) * share).sum(-1))


def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((24, 3, 12, 12)).astype(np.float32)


class Images:
    digest, labels, ids = "noise", None, ()

    def __len__(self) -> int:
        return 24

    def batches(self, size: int) -> Any:
        return (image[None] for image in pixels())


def test_what_cannot_be_quantized_one_by_one_stays_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Net().eval()
    model: Any = SimpleNamespace(name="tests:acts", num_classes=5, input_shape=(3, 12, 12), module=lambda: network)
    source = export(model, tmp_path / "model.tflite", preprocessing=Preprocessing(crop=(12, 12), resize=12))
    graph = flatbuffer.Graph.read(source.path)
    kept = float_islands(graph)
    named = {graph.op(operator): graph.layer(operator) in kept for operator in graph.operators}
    assert {"EXP", "SOFTMAX"} <= {op for op, floating in named.items() if floating}
    assert not named["CONV_2D"] and not named["FULLY_CONNECTED"]

    context: Any = SimpleNamespace(listener=ignore, scratch=tmp_path, data=SimpleNamespace(calibration=Images()))
    made = quantize(source, tmp_path / "model.int8.tflite", options=Quantize(), context=context)
    found = lint(made)
    assert not [layer for layer in found.float_layers if layer.op in flatbuffer.WEIGHTED]
    loaded = flatbuffer.interpreter(made.path, delegate=True)
    rows = []
    for image in pixels():
        loaded.set_tensor(loaded.get_input_details()[0]["index"], image.transpose(1, 2, 0)[None].copy())
        loaded.invoke()
        rows.append(loaded.get_tensor(loaded.get_output_details()[0]["index"])[0])
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels())).numpy()
    assert 10 * np.log10(np.square(expected).sum() / np.square(np.array(rows) - expected).sum()) > 15
