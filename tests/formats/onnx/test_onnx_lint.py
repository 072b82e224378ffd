"""ONNX Runtime's fusion lint: what runs in integers, what does not, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.core.artifact import Artifact, Precision
from edgecnn.core.errors import StepError
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.onnx.lint import lint

SCALE = 6 / 255


class Graph:
    """Operators on an 8-channel image, with u8 Q/DQ pairs where asked."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = [
            numpy_helper.from_array(np.float32(SCALE), "scale"),
            numpy_helper.from_array(np.uint8(0), "zero"),
        ]

    def op(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def pair(self, source: str) -> str:
        return self.op(
            "DequantizeLinear",
            [self.op("QuantizeLinear", [source, "scale", "zero"], f"{source}_q"), "scale", "zero"],
            f"{source}_dq",
        )

    def conv(self, source: str, name: str, *, quantized: bool = True) -> str:
        if not quantized:
            weight = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)
            self.constants.append(numpy_helper.from_array(weight, f"{name}.weight"))
            return self.op("Conv", [source, f"{name}.weight"], name, pads=[1] * 4)
        codes = np.random.default_rng(0).integers(-127, 128, (8, 8, 3, 3), dtype=np.int8)
        self.constants += [
            numpy_helper.from_array(codes, f"{name}.codes"),
            numpy_helper.from_array(np.full(8, 0.001, dtype=np.float32), f"{name}.scale"),
            numpy_helper.from_array(np.zeros(8, dtype=np.int8), f"{name}.zero"),
        ]
        weight = self.op(
            "DequantizeLinear", [f"{name}.{part}" for part in ("codes", "scale", "zero")], f"{name}.dq", axis=0
        )
        return self.op("Conv", [source, weight], name, pads=[1] * 4)

    def linted(self, out: str, folder: Path, precision: Precision = "int8") -> Fusion:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, 6, 6])],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        path = folder / "model.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(made, strict_mode=True), path)
        return lint(Artifact(path, "onnx", precision, (), (), ""))


def test_a_float_file_is_only_counted(tmp_path: Path) -> None:
    graph = Graph()
    out = graph.op("HardSwish", [graph.conv("x", "stem", quantized=False)], "act")
    found = graph.linted(out, tmp_path, "fp32")
    assert (found.runtime, found.status) == ("onnxruntime", "checked")
    assert found.floating == 1
    assert found.integer == 0
    assert found.float_layers == found.warnings == ()


def test_a_fused_file_has_nothing_to_say(tmp_path: Path) -> None:
    graph = Graph()
    first = graph.pair(graph.op("Relu", [graph.conv(graph.pair("x"), "layer1.0.conv")], "layer1.0.relu"))
    found = graph.linted(graph.pair(graph.conv(first, "layer1.1.conv")), tmp_path)
    assert found.counts["QLinearConv"] == 2
    assert (found.integer, found.floating) == (2, 0)
    assert found.float_layers == found.warnings == ()


def test_hardswish_is_named_with_the_reason(tmp_path: Path) -> None:
    graph = Graph()
    first = graph.pair(graph.conv(graph.pair("x"), "features.0.conv"))
    act = graph.pair(graph.op("HardSwish", [first], "features.0.act"))
    found = graph.linted(graph.pair(graph.conv(act, "features.1.conv")), tmp_path)
    (layer,) = found.float_layers
    assert (layer.name, layer.op) == ("features.0.act", "HardSwish")
    assert "no integer kernel for HardSwish" in layer.why
    (warning,) = found.warnings
    assert "1 x HardSwish stays in float" in warning
    assert "features.0.act" in warning


def test_a_convolution_without_a_pair_behind_it_is_named(tmp_path: Path) -> None:
    graph = Graph()
    first = graph.op("Softplus", [graph.conv(graph.pair("x"), "layer1.0.conv1")], "layer1.0.softplus")
    found = graph.linted(graph.pair(graph.conv(graph.pair(first), "layer1.0.conv2")), tmp_path)
    assert found.counts["QLinearConv"] == 1
    assert {layer.name for layer in found.float_layers} == {"layer1.0.conv1", "layer1.0.softplus"}
    assert found.warnings[-1].startswith("1 layers with weights run in float")


def test_many_layers_are_counted_and_the_first_named(tmp_path: Path) -> None:
    graph = Graph()
    x = "x"
    for index in range(6):
        x = graph.pair(graph.op("Tanh", [graph.pair(graph.conv(graph.pair(x), f"conv{index}"))], f"tanh{index}"))
    found = graph.linted(x, tmp_path)
    (warning,) = found.warnings
    assert "6 x Tanh" in warning
    assert "tanh3 and 2 more" in warning


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a\x12\x03abc"])
def test_a_broken_file_is_a_step_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(StepError) as caught:
        lint(Artifact(path, "onnx", "int8", (), (), ""))
    assert caught.value.code == "cannot-load"
    assert "model.onnx" in caught.value.message
    assert caught.value.why


def test_the_optimised_copy_is_not_left_behind(tmp_path: Path) -> None:
    graph = Graph()
    graph.linted(graph.pair(graph.conv(graph.pair("x"), "conv")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
