"""What a target has a plan made for: the formats it delivers, in the precisions its backend has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["--target", "orin-nx"], ["export tensorrt fp32", "cast tensorrt fp16", "quantize tensorrt int8"]),
        (["--target", "orin-nx", "--format", "onnx"], ["export onnx fp32", "quantize onnx int8"]),
        (["--target", "nano"], ["export tensorrt fp32", "cast tensorrt fp16"]),
        (["--target", "pi-zero", "--format", "tflite"], ["export tflite fp32", "quantize tflite int8"]),
    ],
)
def test_formats_and_precisions_are_the_targets(
    bench: Workbench, invoke: Invoke, words: list[str], steps: list[str]
) -> None:
    ended = invoke("plan", *bench.source, "--data", str(bench.data), *words, "--json")
    assert ended.code == 0, ended.err
    assert [step["name"] for step in ended.json["steps"]] == steps
    assert ("jetson-nano has no int8 in tensorrt: `quantize` is left out" in ended.err) == ("nano" in words)


@pytest.mark.parametrize(
    ("format", "steps"),
    [("onnx", ["export onnx fp32", "cast onnx fp16"]), ("tflite", ["export tflite fp32"])],
)
def test_half_precision_is_made_or_its_lack_told(
    bench: Workbench, invoke: Invoke, format: str, steps: list[str]
) -> None:
    words = ["--target", "host", "--format", format, "--recipe", "fp16", "--json"]
    ended = invoke("plan", *bench.source, "--data", str(bench.data), *words)
    assert [step["name"] for step in ended.json["steps"]] == steps
    assert ("the recipe 'fp16' makes nothing but FP32 in tflite" in ended.err) == (format == "tflite")


def test_an_alias_of_the_users_board_wins(bench: Workbench, invoke: Invoke, config_home: object) -> None:
    assert invoke("devices", "add", "jetson", "--ssh", "lab", "--like", "nano").code == 0
    ended = invoke("plan", *bench.source, "--data", str(bench.data), "--target", "jetson", "--json")
    assert (ended.code, ended.json["target"]) == (0, "jetson")


def test_settings_of_a_training_are_shown_as_far_as_they_are_unusual(bench: Workbench, invoke: Invoke) -> None:
    ended = invoke("plan", *bench.source, "--data", str(bench.data), "--recipe", "prune50-int8")
    assert ended.code == 0, ended.err
    assert "{" not in ended.out
    assert "macs=0.5" in ended.out and "method=dist" in ended.out and "epochs=10" in ended.out
    assert "clip_norm" not in ended.out
