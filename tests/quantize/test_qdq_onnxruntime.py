"""Q/DQ for ONNX Runtime: what its optimiser makes of small graphs, and how close they stay to the float network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.core.errors import InputError
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.onnx.lint import lint

Make = Callable[..., Any]
CLOSE_DB = 20.0


def conv_relu6(net: Any) -> list[str]:
    return [net.clip(net.conv("input", "stem"), "act", 0.0, 6.0)]


def residual(net: Any) -> list[str]:
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    x = net.op("Relu", [net.op("Add", [net.conv(x, "block"), x], "add")], "act2")
    return [net.classify(x)]


def concat(net: Any) -> list[str]:
    both = [net.op("Relu", [net.conv("input", name)], f"{name}_act") for name in ("left", "right")]
    wide = net.op("Concat", both, "join", axis=1)
    weight = net.constant("mix.weight", net.random.standard_normal((4, 16, 1, 1)).astype(np.float32) / 4)
    return [net.op("Conv", [wide, weight], "mix")]


def carried_by_maxpool(net: Any) -> list[str]:
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    x = net.op("MaxPool", [x], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    return [net.conv(x, "next")]


def silu(net: Any) -> list[str]:
    x = net.conv("input", "stem")
    x = net.op("Mul", [x, net.op("Sigmoid", [x], "gate")], "act")
    return [net.conv(x, "next")]


def squeeze_excite(net: Any) -> list[str]:
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    gate = net.op("Relu", [net.conv(net.op("GlobalAveragePool", [x], "squeeze"), "reduce", kernel=1)], "mid")
    gate = net.op("Sigmoid", [net.conv(gate, "expand", kernel=1)], "gate")
    return [net.conv(net.op("Mul", [x, gate], "scale"), "next")]


def pool_and_dense(net: Any) -> list[str]:
    return [net.classify(net.op("Relu", [net.conv("input", "stem")], "act"))]


def read_before_relu(net: Any) -> list[str]:
    x = net.conv("input", "stem")
    return [net.op("Add", [net.conv(net.op("Relu", [x], "act"), "next"), x], "add")]


def depthwise(net: Any) -> list[str]:
    x = net.clip(net.conv("input", "depthwise", groups=8), "act", 0.0, 6.0)
    return [net.conv(x, "grouped", groups=2)]


def dense_untransposed(net: Any) -> list[str]:
    pooled = net.op("Flatten", [net.op("GlobalAveragePool", ["input"], "pool")], "flatten")
    hidden = net.op("Relu", [net.dense(pooled, "hidden", transposed=False, out=8)], "act")
    return [net.dense(hidden, "head", transposed=False)]


def matmul(net: Any) -> list[str]:
    pooled = net.op("Flatten", [net.op("GlobalAveragePool", ["input"], "pool")], "flatten")
    weight = net.constant("head.weight", net.random.standard_normal((8, 5)).astype(np.float32))
    return [net.op("MatMul", [pooled, weight], "head")]


def scalar_operand(net: Any) -> list[str]:
    x = net.op("Add", [net.conv("input", "stem"), net.constant("three", np.float32(3.0))], "shift")
    return [net.conv(net.op("Mul", [x, net.constant("sixth", np.float32(1 / 6))], "scale"), "next")]


def channel_operand(net: Any) -> list[str]:
    factor = net.random.standard_normal((1, 8, 1, 1)).astype(np.float32)
    x = net.op("Mul", [net.conv("input", "stem"), net.constant("factor", factor)], "scale")
    return [net.conv(x, "next")]


def output_read_again(net: Any) -> list[str]:
    features = net.op("Relu", [net.conv("input", "stem")], "act")
    return [features, net.classify(features)]


def norm_first(net: Any) -> list[str]:
    """DenseNet: no convolution can take the norm in."""
    dense = net.conv(net.op("Relu", [net.norm("input", "norm")], "act"), "layer", out=4)
    wide = net.op("Concat", ["input", dense], "join", axis=1)
    return [net.op("Relu", [net.norm(wide, "last", width=12)], "last_act")]


FUSED = {
    conv_relu6: {"QLinearConv": 1},
    residual: {"QLinearConv": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    concat: {"QLinearConv": 3, "QLinearConcat": 1},
    carried_by_maxpool: {"QLinearConv": 2, "MaxPool": 1, "QuantizeLinear": 1},
    silu: {"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearMul": 1},
    squeeze_excite: {"QLinearConv": 4, "QLinearGlobalAveragePool": 1, "QLinearSigmoid": 1, "QLinearMul": 1},
    pool_and_dense: {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    depthwise: {"QLinearConv": 2},
    dense_untransposed: {"QLinearGlobalAveragePool": 1, "QGemm": 2},
    norm_first: {"QLinearConv": 3, "QLinearConcat": 1},
    matmul: {"QLinearGlobalAveragePool": 1, "MatMulIntegerToFloat": 1},
    scalar_operand: {"QLinearConv": 2, "QLinearAdd": 1, "QLinearMul": 1},
    channel_operand: {"QLinearConv": 2, "QLinearMul": 1},
    output_read_again: {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
}


@pytest.mark.parametrize("build", FUSED, ids=lambda build: build.__name__)
def test_every_layer_becomes_an_integer_kernel(build: Callable[[Any], list[str]], net: Any, int8: Make) -> None:
    made = int8(net.model(*build(net)))
    found: Fusion = lint(made.artifact)
    assert {op: found.counts.get(op, 0) for op in FUSED[build]} == FUSED[build], found.counts
    assert found.float_layers == ()
    assert found.warnings == ()
    assert made.sqnr_db() > CLOSE_DB


def test_a_conv_somebody_reads_before_its_relu_keeps_its_own_range(net: Any, int8: Make) -> None:
    made = int8(net.model(*read_before_relu(net)))
    found = lint(made.artifact)
    assert found.counts["QLinearConv"] == 2
    assert found.counts["QLinearAdd"] == 1
    assert "stem_out/quantize" in {node.name for node in made.nodes("QuantizeLinear")}
    assert made.constants()["stem_out/zero_point"] > 0, "its negative half is not cut off"
    assert made.sqnr_db() > CLOSE_DB


def test_a_maxpool_shares_the_grid_of_its_input(net: Any, int8: Make) -> None:
    constants = int8(net.model(*carried_by_maxpool(net))).constants()
    assert constants["maxpool_out/scale"] == constants["act_out/scale"]
    assert constants["maxpool_out/zero_point"] == constants["act_out/zero_point"]


def test_activations_are_unsigned_and_weights_signed_per_channel(net: Any, int8: Make) -> None:
    made = int8(net.model(*residual(net)))
    constants = made.constants()
    assert constants["input/zero_point"].dtype == np.uint8
    codes, scale = constants["block.weight/codes"], constants["block.weight/scale"]
    assert codes.dtype == np.int8
    assert scale.shape == (8,)
    assert not constants["block.weight/zero_point"].any()
    assert np.abs(codes).reshape(8, -1).max(axis=1).tolist() == [127] * 8
    assert constants["block/bias/codes"].dtype == np.int32
    assert constants["block/bias/scale"] == pytest.approx(scale * constants["act_out/scale"])
    assert not [name for name in constants if name.endswith(".weight")], "no float weights are left behind"


def test_seven_bit_weights_stay_within_63(net: Any, int8: Make) -> None:
    made = int8(net.model(*residual(net)), weight_bits=7)
    assert np.abs(made.constants()["block.weight/codes"]).max() == 63
    assert made.sqnr_db() > CLOSE_DB


def test_the_graph_keeps_its_inputs_outputs_and_free_batch(net: Any, int8: Make) -> None:
    graph = int8(net.model(*output_read_again(net))).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["act_out", "head_out"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_hardswish_stays_in_float_and_everything_else_does_not(net: Any, int8: Make) -> None:
    x = net.op("HardSwish", [net.conv("input", "stem")], "act")
    made = int8(net.model(net.conv(x, "next")))
    found = lint(made.artifact)
    assert found.counts["QLinearConv"] == 2
    assert [(layer.name, layer.op) for layer in found.float_layers] == [("act", "HardSwish")]
    assert "no integer kernel" in found.float_layers[0].why
    assert made.sqnr_db() > CLOSE_DB


def test_a_transposed_convolution_stays_in_float_with_its_reason(net: Any, int8: Make) -> None:
    weight = net.constant("up.weight", net.random.standard_normal((8, 4, 2, 2)).astype(np.float32))
    x = net.op("Relu", [net.conv("input", "stem")], "act")
    made = int8(net.model(net.op("ConvTranspose", [x, weight], "up", strides=[2, 2])))
    (layer,) = lint(made.artifact).float_layers
    assert (layer.name, layer.op) == ("up", "ConvTranspose")
    assert made.constants()["up.weight"].dtype == np.float32
    assert made.sqnr_db() > CLOSE_DB


def test_a_clip_on_both_sides_of_zero(net: Any, int8: Make) -> None:
    """No grid with an exact zero ends exactly at -1 and 1: the Clip stays in float, the convolutions do not."""
    made = int8(net.model(net.conv(net.clip(net.conv("input", "stem"), "act", -1.0, 1.0), "next")))
    found = lint(made.artifact)
    assert found.counts["QLinearConv"] == 2
    assert [(layer.name, layer.op) for layer in found.float_layers] == [("act", "Clip")]
    assert made.sqnr_db() > CLOSE_DB


@pytest.mark.parametrize("top", [0.1, 0.33, 1.0, 1.3, 5.5, 6.0, 20.0])
def test_a_clip_at_zero_is_absorbed_whatever_its_top(net: Any, int8: Make, top: float) -> None:
    """The grid's top is rounded to float32 and must not come out above the clip's."""
    loud = net.op("Mul", [net.conv("input", "stem"), net.constant("loud", np.float32(20))], "loud")
    made = int8(net.model(net.conv(net.clip(net.conv(loud, "mid"), "act", 0.0, top), "next")))
    assert lint(made.artifact).float_layers == ()


def shared_weight(net: Any, *, loud: float) -> onnx.ModelProto:
    """One kernel on two inputs of very different scale, with a dead channel whose bias raises the kernel's scale."""
    weight = net.random.standard_normal((8, 8, 3, 3)).astype(np.float32) / 8
    weight[3] *= 1e-9
    kernel = net.constant("shared.weight", weight)
    biases = [np.full(8, 0.3, dtype=np.float32), np.full(8, 2.0, dtype=np.float32)]
    near, far = (net.constant(f"{name}.bias", bias) for name, bias in zip(("near", "far"), biases, strict=True))
    scaled = net.op("Relu", [net.conv("input", "stem")], "act")
    scaled = net.op("Mul", [scaled, net.constant("loud", np.float32(loud))], "louder")
    first = net.op("Conv", ["input", kernel, near], "first", pads=[1] * 4)
    second = net.op("Conv", [scaled, kernel, far], "second", pads=[1] * 4)
    return net.model(first, second)


@pytest.mark.parametrize("loud", [1.0, 0.01])
@pytest.mark.parametrize("family", ["onnxruntime", "tensorrt"])
def test_a_weight_shared_by_two_convolutions(net: Any, int8: Make, loud: float, family: str) -> None:
    made = int8(shared_weight(net, loud=loud), family)
    assert made.sqnr_db() > CLOSE_DB
    constants = made.constants()
    for name in ("first", "second") if family == "onnxruntime" else ():
        conv = next(node for node in made.nodes("Conv") if node.name == name)
        weight, bias = (
            next(node for node in made.nodes("DequantizeLinear") if node.output[0] == conv.input[i]) for i in (1, 2)
        )
        reader = next(node for node in made.nodes("DequantizeLinear") if node.output[0] == conv.input[0])
        assert constants[bias.input[1]] == pytest.approx(constants[weight.input[1]] * constants[reader.input[1]])
    if family == "onnxruntime":
        assert lint(made.artifact).float_layers == ()
    else:
        assert sum(name.startswith("shared.weight/codes") for name in constants) == 1, "the same codes are kept once"


def test_channels_without_weights_keep_their_bias(net: Any, int8: Make) -> None:
    """Batch-norm folding leaves channels with almost no weights and all of the bias; pruning leaves pure zeros."""
    weight = net.random.standard_normal((8, 8, 1, 1)).astype(np.float32)
    weight[0], weight[1], weight[2] = 0.0, 1e-12, 0.0
    bias = np.array([0.0, 5.0, -3.0, *[0.1] * 5], dtype=np.float32)
    inputs = ["input", net.constant("dead.weight", weight), net.constant("dead.bias", bias)]
    made = int8(net.model(net.op("Conv", inputs, "dead")))
    assert lint(made.artifact).counts["QLinearConv"] == 1
    constants = made.constants()
    restored = constants["dead/bias/codes"] * constants["dead/bias/scale"].astype(np.float64)
    assert restored == pytest.approx(bias, abs=1e-3)
    assert made.sqnr_db() > CLOSE_DB


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,)])
def test_a_dense_bias_of_any_broadcast_shape(net: Any, int8: Make, shape: tuple[int, ...]) -> None:
    pooled = net.op("Flatten", [net.op("GlobalAveragePool", ["input"], "pool")], "flatten")
    weight = net.constant("head.weight", net.random.standard_normal((5, 8)).astype(np.float32))
    bias = net.constant("head.bias", net.random.standard_normal(shape).astype(np.float32))
    made = int8(net.model(net.op("Gemm", [pooled, weight, bias], "head", transB=1)))
    assert lint(made.artifact).counts["QGemm"] == 1
    assert made.sqnr_db() > CLOSE_DB


def test_a_layer_kept_in_float_by_name(net: Any, int8: Make) -> None:
    """ONNX Runtime quantizes a float layer between Q/DQ pairs by itself: it must not see it as one."""
    made = int8(net.model(*residual(net)), keep_float=("stem", "block"))
    found = lint(made.artifact)
    assert [layer.name for layer in found.float_layers] == ["stem", "block"]
    assert found.counts["QLinearAdd"] == 1
    assert "2 layers with weights run in float" in found.warnings[-1]
    assert made.constants()["block.weight"].dtype == np.float32


def test_of_a_norm_that_became_a_convolution_nothing_is_left_behind(net: Any, int8: Make) -> None:
    made = int8(net.model(*norm_first(net)))
    used = {name for node in made.graph.node for name in node.input}
    assert set(made.constants()) <= used
    assert [node.name for node in made.nodes("Conv")] == ["norm", "layer", "last"], "names stay"


def test_a_norm_of_a_vector_stays_in_float_with_its_reason(net: Any, int8: Make) -> None:
    flat = net.op("Flatten", [net.op("GlobalAveragePool", ["input"], "pool")], "flatten")
    made = int8(net.model(net.dense(net.norm(flat, "norm"), "head")))
    (layer,) = lint(made.artifact).float_layers
    assert (layer.name, layer.op) == ("norm", "BatchNormalization")
    assert made.sqnr_db() > CLOSE_DB


def test_layers_kept_in_float_by_pattern(net: Any, int8: Make) -> None:
    """A convolution and its activation share one result."""
    made = int8(net.model(*residual(net)), keep_float=("st.m|act", "hea."))
    assert {layer.name for layer in lint(made.artifact).float_layers} >= {"stem", "head"}
    assert len({node.name for node in made.graph.node}) == len(made.graph.node)


@pytest.mark.parametrize(("pattern", "hint"), [("blocks", "'block'"), ("bloc", "'block'"), ("nowhere", "known: ")])
def test_a_layer_to_keep_that_is_not_there(net: Any, int8: Make, pattern: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        int8(net.model(*residual(net)), keep_float=(pattern,))
    assert caught.value.code == "unknown-layer"
    assert hint in caught.value.hint


def test_the_ranges_the_file_was_built_from_lie_beside_it(net: Any, int8: Make) -> None:
    from edgecnn.quantize.ranges import RangeTable, asymmetric

    made = int8(net.model(*residual(net)))
    table = RangeTable.from_json((made.artifact.path.parent / "ranges.json").read_text())
    assert table["act_out"].low == 0.0
    grid = asymmetric(table["act_out"], signed=False)
    assert made.constants()["act_out/scale"] == pytest.approx(grid.scale)


def test_quantizing_twice_gives_the_same_bytes(net: Any, int8: Make) -> None:
    model = net.model(*squeeze_excite(net))
    assert int8(model).artifact.sha256 == int8(model).artifact.sha256


@pytest.mark.parametrize("observer", ["percentile", "mse", "entropy"])
def test_every_observer_makes_a_file_that_works(net: Any, int8: Make, observer: str) -> None:
    made = int8(net.model(*residual(net)), observer=observer)
    assert lint(made.artifact).float_layers == ()
    assert made.sqnr_db() > CLOSE_DB


def test_weight_codes_stand_for_the_weights(net: Any, int8: Make) -> None:
    model = net.model(*depthwise(net))
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    constants = int8(model).constants()
    for name in ("depthwise.weight", "grouped.weight"):
        scale = constants[f"{name}/scale"].reshape(-1, 1, 1, 1)
        assert np.abs(constants[f"{name}/codes"] * scale - weights[name]).max() <= scale.max() * 0.501
