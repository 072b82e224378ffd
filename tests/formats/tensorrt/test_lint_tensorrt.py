"""TensorRT's lint: the real parser and builder judge small Q/DQ graphs written here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import install_hint
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.tensorrt import lint as tensorrt
from edgecnn.formats.tensorrt.lint import lint

installed = pytest.mark.skipif(bool(tensorrt._why_not()), reason=tensorrt._why_not() or "TensorRT is there")


def graph(
    *, zero_point: int = 0, unsigned: bool = False, quantize_weight: bool = True, quantize_second: bool = True
) -> onnx.ModelProto:
    """conv → relu → conv, each behind Q/DQ as asked; the pair on the first input has `zero_point`."""
    code = np.uint8 if unsigned else np.int8
    weights = [
        np.random.default_rng(seed).standard_normal((16, width, 3, 3)).astype(np.float32)
        for seed, width in ((0, 3), (1, 16))
    ]
    constants = [numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(code(zero_point), "zero")]
    nodes = [*pair("x", "a", "scale", "zero")]
    second = "c"
    if quantize_second:
        nodes += pair("c", "d", "scale", "zero")
        second = "d"
    kernels = []
    for name, values, quantized in (("w0", weights[0], quantize_weight), ("w1", weights[1], True)):
        if not quantized:
            constants.append(numpy_helper.from_array(values, name))
            kernels.append(name)
            continue
        scale = np.abs(values).max((1, 2, 3)) / 127
        codes = np.rint(values / scale[:, None, None, None]).astype(np.int8)
        constants += [
            numpy_helper.from_array(codes, name),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}_s"),
            numpy_helper.from_array(np.zeros(16, dtype=np.int8), f"{name}_z"),
        ]
        nodes.append(
            helper.make_node("DequantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_f"], f"{name}_dq", axis=0)
        )
        kernels.append(f"{name}_f")
    convs = [
        helper.make_node("Conv", ["a", kernels[0]], ["b"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", [second, kernels[1]], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    order = {"a": 0, "a_q": 0, "b": 2, "c": 3, "d_q": 4, "d": 5, "y": 6}
    nodes = sorted([*nodes, *convs], key=lambda node: order.get(node.output[0], 1))
    made = helper.make_graph(
        nodes,
        "two-convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16, 16, 16])],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def pair(source: str, out: str, scale: str, zero: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{out}_q"], f"{out}_quantize"),
        helper.make_node("DequantizeLinear", [f"{out}_q", scale, zero], [out], f"{out}_dequantize"),
    ]


def judged(folder: Path, model: onnx.ModelProto) -> Fusion:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return lint(Artifact(path, "tensorrt", "int8", (), (), ""))


@installed
def test_a_symmetric_graph_is_built_with_every_layer_integer(tmp_path: Path) -> None:
    found = judged(tmp_path, graph())
    assert found.status == "checked", found.note
    assert (found.integer, found.floating) == (2, 0)
    assert found.counts["CONVOLUTION"] == 2
    assert found.counts["DEQUANTIZE"] == 4
    assert not found.float_layers
    assert "8.6" in found.note


@installed
@pytest.mark.parametrize(("zero_point", "unsigned"), [(3, False), (128, True)])
def test_a_zero_point_is_refused_in_the_parsers_words(tmp_path: Path, zero_point: int, unsigned: bool) -> None:
    found = judged(tmp_path, graph(zero_point=zero_point, unsigned=unsigned))
    assert found.status == "refused"
    assert "zero point" in found.note.lower()
    assert found.float_layers[0].name == "a_quantize"


@installed
@pytest.mark.parametrize(
    ("model", "name", "why"),
    [
        (graph(quantize_second=False), "second", "its input does not"),
        (graph(quantize_weight=False), "first", "its weight does not"),
    ],
)
def test_a_layer_without_its_pairs_is_named(tmp_path: Path, model: onnx.ModelProto, name: str, why: str) -> None:
    found = judged(tmp_path, model)
    # TensorRT's own rules may refuse such a graph; either way the layer at fault is what the user must learn.
    told = " ".join([found.note, *(f"{layer.name}: {layer.why}" for layer in found.float_layers)])
    assert name in told
    if found.status == "checked":
        assert [layer.name for layer in found.float_layers] == [name]
        assert why in found.float_layers[0].why
        assert any("run in float" in line for line in found.warnings)


@installed
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    found = lint(Artifact(tmp_path / "model.onnx", "tensorrt", "int8", (), (), ""))
    assert found.status == "refused"
    assert found.note


@installed
def test_a_builder_that_dies_does_not_take_the_run_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'terminate called' >&2\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    found = judged(tmp_path, graph())
    assert found.status == "skipped"
    assert "signal 11" in found.note
    assert "terminate called" in found.note


def test_without_the_wheels_the_lint_is_skipped_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "WHEELS", ("no_such_wheel_for_tensorrt",))
    monkeypatch.setattr(tensorrt.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    found = judged(tmp_path, graph())
    assert found.status == "skipped"
    assert install_hint("tensorrt") in found.note


def test_on_another_platform_the_lint_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt.platform, "machine", lambda: "aarch64")
    found = judged(tmp_path, graph())
    assert found.status == "skipped"
    assert "aarch64" in found.note
