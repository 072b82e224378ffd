"""Layers that destroy their tensor in INT8 are named, with those before them, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgecnn.compress.fallbacks import Known
from edgecnn.compress.fallbacks.keep_float import KeepFloat
from edgecnn.core.events import Event, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.quantize.tensor_sqnr import DestroyingLayer, TensorFlow, destroying_groups, destroying_layers

LOUD = 3000.0


def chain(*names: str) -> list[TensorFlow]:
    return [
        TensorFlow(name, (f"{before}_out",), (f"{name}_out",))
        for before, name in zip(("in", *names), names, strict=False)
    ]


@pytest.mark.parametrize(
    ("sqnr", "named"),
    [
        ({"a_out": 30.0, "b_out": 28.0, "c_out": 4.0, "d_out": 2.0}, ["c"]),
        ({"a_out": 30.0, "b_out": 12.0, "c_out": 9.5, "d_out": 7.0}, []),
        ({"a_out": 5.0, "b_out": 4.0, "c_out": 3.0, "d_out": 3.0}, ["a"]),
        ({"a_out": 30.0, "c_out": 30.0, "d_out": 30.0}, []),
    ],
)
def test_the_layer_that_loses_is_named_and_none_behind_it(sqnr: dict[str, float], named: list[str]) -> None:
    assert [found.layer for found in destroying_layers(sqnr, chain("a", "b", "c", "d"))] == named


def test_the_layers_before_it_come_with_it() -> None:
    (found,) = destroying_layers({"a_out": 30.0, "b_out": 28.0, "c_out": 4.0}, chain("a", "b", "c"))
    assert found == DestroyingLayer("c", 4.0, ("b", "a"))


def spread(net: Any) -> Any:
    """A first convolution with one loud channel; the second makes up for it."""
    first = net.op("Relu", [net.conv("input", "first")], "act")
    second = net.op("Relu", [net.conv(first, "second")], "act2")
    model = net.model(net.classify(net.conv(second, "third")))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name.startswith("first."):
            values[2] *= LOUD
        elif tensor.name == "second.weight":
            values[:, 2] /= LOUD
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def test_a_tensor_with_one_loud_channel_in_onnx(net: Any, int8: Callable[..., Any]) -> None:
    made = int8(spread(net))
    alone, whole = destroying_groups(made.artifact.path)
    assert alone == ("second",) and "first" in whole
    lost = made.sqnr_db()
    assert int8(onnx.load(made.source), keep_float=whole).sqnr_db() > lost + 10


def test_a_good_file_names_none(net: Any, int8: Callable[..., Any]) -> None:
    made = int8(net.model(net.classify(net.op("Relu", [net.conv("input", "first")], "act"))))
    assert destroying_groups(made.artifact.path) == []


def test_it_is_said_in_tflite(images: Any, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from edgecnn.formats.tflite.export import export
    from edgecnn.formats.tflite.quantize import quantize

    torch.manual_seed(0)
    first, second = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        first.weight[2] *= LOUD
        second.weight[:, 2] /= LOUD
    network = nn.Sequential(
        first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()
    model: Any = SimpleNamespace(name="tests:loud", num_classes=5, input_shape=(8, 12, 12), module=lambda: network)
    source = export(model, tmp_path / "model.tflite", preprocessing=Preprocessing(crop=(12, 12), resize=12))
    events: list[Event] = []
    context: Any = SimpleNamespace(listener=events.append, scratch=tmp_path, data=SimpleNamespace(calibration=images))
    made = quantize(source, tmp_path / "model.int8.tflite", options=Quantize(), context=context)
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.code == "destroyed-tensor" and " 2 computes" in warned.message
    assert destroying_groups(made.path) == [("2",), ("2", "0")]


def test_the_ladder_leaves_them_in_float_before_it_ranks() -> None:
    def ranked(_: int) -> list[str]:
        return ["head"]

    known = Known(0.5, ranked, destroying=lambda: [("second",), ("second", "first")])
    attempts = list(KeepFloat(layers=(1,)).attempts((Quantize(),), known))
    kept = [[*stage.keep_float] for attempt in attempts for stage in attempt.stages if isinstance(stage, Quantize)]
    assert kept == [["second"], ["second", "first"], ["head"]]
    assert attempts[0].label == "keep-float second"
    already = (Quantize(keep_float=("second",)),)
    first = next(iter(KeepFloat(layers=(1,)).attempts(already, replace(known, destroying=lambda: [("second",)]))))
    assert first.label == "keep-float head"
