"""Q/DQ for TensorRT: symmetric everywhere, results of convolutions left alone, one branch of a residual Add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

Make = Callable[..., Any]
CLOSE_DB = 20.0


def plain(net: Any) -> list[str]:
    x = net.clip(net.conv("input", "stem"), "act", 0.0, 6.0)
    x = net.op("MaxPool", [x], "maxpool", kernel_shape=[2, 2], strides=[2, 2])
    return [net.classify(net.op("Relu", [net.conv(x, "next", groups=8)], "act2"))]


def residual(net: Any) -> list[str]:
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    y = net.conv(net.op("Relu", [net.conv(x, "conv1")], "mid"), "conv2")
    return [net.classify(net.op("Relu", [net.op("Add", [y, x], "add")], "act2"))]


def projected(net: Any) -> list[str]:
    """As torchvision writes a strided block: the projection comes last in the file, and is the short branch."""
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    y = net.conv(net.op("Relu", [net.conv(x, "conv1")], "mid"), "conv2")
    y = net.op("Add", [y, net.conv(x, "downsample", kernel=1)], "add")
    return [net.classify(net.op("Relu", [y], "act2"))]


def silu_and_gate(net: Any) -> list[str]:
    x = net.conv("input", "stem")
    x = net.op("Mul", [x, net.op("Sigmoid", [x], "sigmoid")], "act")
    gate = net.op("Sigmoid", [net.conv(net.op("GlobalAveragePool", [x], "squeeze"), "expand", kernel=1)], "gate")
    return [net.conv(net.op("Mul", [x, gate], "scale"), "next")]


def upsampled(net: Any) -> list[str]:
    weight = net.constant("up.weight", net.random.standard_normal((8, 4, 2, 2)).astype(np.float32))
    bias = net.constant("up.bias", net.random.standard_normal(8).astype(np.float32))
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    return [net.op("ConvTranspose", [x, weight, bias], "up", strides=[2, 2], group=2)]


def alone(net: Any) -> list[str]:
    return [net.conv("input", "only")]


def sources_of_pairs(made: Any) -> list[str]:
    return sorted(node.input[0] for node in made.nodes("QuantizeLinear"))


NETS = (plain, residual, projected, silu_and_gate, upsampled, alone)


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_the_dialect_tensorrt_accepts(build: Callable[[Any], list[str]], net: Any, int8: Make) -> None:
    made = int8(net.model(*build(net)), "tensorrt")
    constants = made.constants()
    zeros = {node.input[2] for node in made.nodes("QuantizeLinear") + made.nodes("DequantizeLinear")}
    assert all(constants[name].dtype == np.int8 and not constants[name].any() for name in zeros)
    assert not [name for name, values in constants.items() if values.dtype == np.int32], "no integer bias"
    assert made.sqnr_db() > CLOSE_DB


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_every_weighted_operator_reads_int8_on_both_sides(
    build: Callable[[Any], list[str]], net: Any, int8: Make
) -> None:
    made = int8(net.model(*build(net)), "tensorrt")
    dequantized = {node.output[0] for node in made.nodes("DequantizeLinear")}
    weighted = [node for kind in ("Conv", "ConvTranspose", "Gemm") for node in made.nodes(kind)]
    assert weighted
    assert all(set(node.input[:2]) <= dequantized for node in weighted)


def test_a_plain_chain_is_quantized_only_where_weights_read_it(net: Any, int8: Make) -> None:
    made = int8(net.model(*plain(net)), "tensorrt")
    assert sources_of_pairs(made) == ["flatten_out", "input", "maxpool_out"]


def test_of_a_residual_add_only_the_identity_is_quantized(net: Any, int8: Make) -> None:
    made = int8(net.model(*residual(net)), "tensorrt")
    (add,) = made.nodes("Add")
    assert list(add.input) == ["conv2_out", "act_out/dq"]
    assert sources_of_pairs(made) == ["act_out", "flatten_out", "input", "mid_out"]


def test_of_a_projected_block_the_projection_is_quantized(net: Any, int8: Make) -> None:
    made = int8(net.model(*projected(net)), "tensorrt")
    (add,) = made.nodes("Add")
    assert list(add.input) == ["conv2_out", "downsample_out/dq"]


def test_nothing_stands_between_a_convolution_and_its_activation(net: Any, int8: Make) -> None:
    made = int8(net.model(*silu_and_gate(net)), "tensorrt")
    (act,) = (node for node in made.nodes("Mul") if node.name == "act")
    assert list(act.input) == ["stem_out", "sigmoid_out"]
    assert sources_of_pairs(made) == ["input", "scale_out", "squeeze_out"]


def test_transposed_weights_have_their_channels_on_axis_one(net: Any, int8: Make) -> None:
    made = int8(net.model(*upsampled(net)), "tensorrt")
    (reader,) = (node for node in made.nodes("DequantizeLinear") if node.input[0] == "up.weight/codes")
    assert onnx.helper.get_node_attr_value(reader, "axis") == 1
    assert made.constants()["up.weight/scale"].shape == (4,)


def test_a_float_output_is_left_alone(net: Any, int8: Make) -> None:
    made = int8(net.model(*alone(net)), "tensorrt")
    assert [value.name for value in made.graph.output] == ["only_out"]
    assert sources_of_pairs(made) == ["input"]


def test_a_layer_kept_in_float(net: Any, int8: Make) -> None:
    made = int8(net.model(*residual(net)), "tensorrt", keep_float=("conv1",))
    (conv,) = (node for node in made.nodes("Conv") if node.name == "conv1")
    assert list(conv.input[:2]) == ["act_out", "conv1.weight"]


def test_a_norm_that_stands_alone_is_left_to_tensorrt(net: Any, int8: Make) -> None:
    normed = net.op("Relu", [net.norm("input", "norm")], "act")
    made = int8(net.model(net.conv(normed, "next")), "tensorrt")
    assert len(made.nodes("BatchNormalization")) == 1
    assert sources_of_pairs(made) == ["act_out"]
