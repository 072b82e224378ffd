"""Multiply-accumulates and bytes against values by hand and PyTorch's own counter; what a runtime made of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.core.errors import InputError
from edgecnn.formats.cost import Cost, Tensor
from edgecnn.formats.onnx import cost_ops
from edgecnn.formats.onnx import trace as onnx_runtime
from edgecnn.formats.onnx.cost import OnnxGraph
from edgecnn.formats.tensorrt import trace as tensorrt
from edgecnn.formats.tflite import trace as litert
from edgecnn.formats.tflite.cost import TFLiteGraph

F32, I8 = "float32", "int8"


def test_onnx_macs_are_those_by_hand(onnx_net: Callable[..., Path], macs: dict[str, int]) -> None:
    for path in (onnx_net(), onnx_net(int8=True, name="int8.onnx")):
        found = {node.layer: node for node in OnnxGraph.read(path).described_all()}
        assert {name: found[name].cost.macs for name in macs} == macs
        assert sum(node.cost.macs or 0 for node in found.values()) == sum(macs.values())
        assert found["sum"].cost.operations == 32 * 32 * 16
        assert found["pooled"].cost.operations == 32 * 32 * 16


def test_onnx_bytes_count_every_tensor_once(onnx_net: Callable[..., Path]) -> None:
    found = {node.layer: node.cost for node in OnnxGraph.read(onnx_net()).described_all()}
    assert found["stem"] == Cost(
        macs=32 * 32 * 8 * 27,
        operations=2 * 32 * 32 * 8 * 27,
        weight_bytes=8 * 27 * 4,
        activation_bytes=(3 * 64 * 64 + 8 * 32 * 32) * 4,
    )
    assert found["sum"].activation_bytes == 2 * 16 * 32 * 32 * 4  # x + x reads one tensor


def test_tflite_macs_are_those_by_hand(tflite_net: Callable[..., Path], macs: dict[str, int]) -> None:
    for int8 in (False, True):
        graph = TFLiteGraph.read(tflite_net(int8=int8))
        found = {node.layer.removesuffix("/y"): node for node in graph.nodes}
        assert {name: found[name].cost.macs for name in macs} == macs
        assert found["dw"].cost.weight_bytes == (8 * 9 + 8 * 4 if int8 else (8 * 9 + 8) * 4)
        assert {node.kind for node in graph.nodes} == {"integer" if int8 else "float"}


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_agree_with_torch(groups: int, transposed: bool) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = kind(8, 16, (3, 5), stride=2, padding=1, groups=groups).to("meta")
    image = torch.zeros(2, 8, 17, 19, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = layer(image)
    tensors = [Tensor(F32, tuple(item.shape)) for item in (image, layer.weight)]
    counted = cost_ops.macs("ConvTranspose" if transposed else "Conv", tensors, Tensor(F32, tuple(out.shape)), {})
    assert counted == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("op", "shapes", "out", "attributes", "macs", "operations"),
    [
        ("Gemm", [(4, 10), (10, 7)], (4, 7), {}, 280, 560),
        ("Gemm", [(10, 4), (10, 7)], (4, 7), {"transA": 1}, 280, 560),
        ("QGemm", [(4, 10), (), (), (10, 7)], (4, 7), {}, 280, 560),
        ("MatMul", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), {}, 120, 240),
        ("QLinearConv", [(1, 8, 8, 3), (), (), (16, 3, 3, 3)], (1, 8, 8, 16), {}, 64 * 16 * 27, 2 * 64 * 16 * 27),
        ("MaxPool", [(1, 4, 8, 8)], (1, 4, 4, 4), {"kernel_shape": [3, 3]}, 0, 64 * 9),
        ("ReduceMean", [(1, 4, 8, 8)], (1, 4), {}, 0, 256),
        ("Transpose", [(1, 4, 8, 8)], (1, 8, 8, 4), {}, 0, 0),
        ("QuantizeLinear", [(1, 4, 8, 8), ()], (1, 4, 8, 8), {}, 0, 256),
        ("Sigmoid", [(1, 4)], (1, 4), {}, 0, 4),
    ],
)
def test_operators(op: str, shapes: list[Any], out: Any, attributes: Any, macs: int, operations: int) -> None:
    inputs, output = [Tensor(F32, shape) for shape in shapes], Tensor(F32, out)
    assert cost_ops.macs(op, inputs, output, attributes) == macs
    assert cost_ops.operations(op, inputs, output, attributes) == operations


def test_what_is_not_known_stays_unknown() -> None:
    unknown, known = Tensor("?", None), Tensor(F32, (1, 8, 4, 4))
    assert cost_ops.macs("Conv", [known, unknown], known, {}) is None
    assert cost_ops.operations("Conv", [known, unknown], known, {}) is None
    assert cost_ops.macs("QLinearConv", [known], known, {}) is None
    assert Tensor(F32, (-1, 8)).elements is None
    assert Tensor(F32, (1 << 60, 8)).nbytes is None
    assert Tensor(F32, (2,) * 40).elements is None
    assert Tensor("string", (2, 3)).nbytes is None
    assert Tensor("int4", (3,)).nbytes == 2


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\xff\xff not a model")
    with pytest.raises(InputError, match="not a readable ONNX"):
        OnnxGraph.read(path)


def row(name: str, op: str, out: tuple[int, ...] = (1,), dtype: str = "float") -> dict[str, Any]:
    return {"name": name, "op": op, "inputs": [(dtype, (1, 3, 8, 8))], "outputs": [(dtype, out)]}


def test_without_a_graph_a_row_is_all_there_is(onnx_net: Callable[..., Path]) -> None:
    original = OnnxGraph.read(onnx_net())
    for raw in (b"", b"\xff not a graph"):
        nodes = onnx_runtime.join([row("stem", "QLinearConv", (1, 8, 32, 32), "uint8")], raw, original)
        assert [(node.layer, node.kind, node.shape) for node in nodes] == [("stem", "integer", (1, 8, 32, 32))]
        assert nodes[0].cost == Cost()


def test_a_graph_that_makes_no_sense_costs_nothing_but_a_shrug(onnx_net: Callable[..., Path]) -> None:
    import onnx

    original = onnx.load(onnx_net())
    weight = next(item for item in original.graph.initializer if item.name == "stem.weight")
    weight.dims[:] = [-5, 1 << 62, 0, 7]
    stem = next(node for node in original.graph.node if node.name == "stem")
    stem.attribute.append(onnx.helper.make_attribute("pads", [1 << 62] * 1000))
    stem.domain = onnx_runtime.BLOCKED
    del stem.output[:]
    raw = original.SerializeToString()
    nodes = onnx_runtime.join([row("stem", "Conv"), row("nobody", "Conv")], raw, OnnxGraph.read(onnx_net()))
    assert [node.cost.macs for node in nodes] == [None, None]


def events(*ops: str) -> list[dict[str, Any]]:
    return [{"op": op, "delegated": True, "node": place} for place, op in enumerate(ops)]


def test_xnnpacks_operators_are_laid_beside_the_files(tflite_net: Callable[..., Path]) -> None:
    graph = TFLiteGraph.read(tflite_net())
    rows = events(
        "Convolution (NHWC, F32) IGEMM",
        "Convolution (NHWC, F16) DWConv",
        "Fully Connected (NC, F32) GEMM",
        "Add (ND)",
        "Clamp (NC)",
        "Mean (ND) Reduce2",
        "Static Reshape (NC)",
        "Fully Connected (NC, F32) GEMM",
    )
    nodes = litert.join(rows, graph)
    assert [node.layer for node in nodes] == ["stem/y", "dw/y", "pw/y", "sum", "sum", "pooled", "pooled", "fc/y"]
    assert [node.precision for node in nodes][:3] == ["fp32", "fp16", "fp32"]
    assert (nodes[4].op, nodes[4].kind, nodes[4].cost.operations) == ("Clamp (NC)", "float", 32 * 32 * 16)
    assert (nodes[6].kind, nodes[6].cost.macs) == ("conversion", 0)


def test_what_xnnpack_merged_is_told(tflite_net: Callable[..., Path]) -> None:
    graph = TFLiteGraph.read(tflite_net())
    graph.nodes[1] = graph.nodes[1].__class__("dw.pad", "PAD", "float", "fp32")
    nodes = litert.join(events("Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, F32) GEMM", "Add (ND)"), graph)
    assert [node.layer for node in nodes] == ["stem/y", "pw/y", "sum"]
    assert nodes[1].merged == ("dw.pad",)


def test_operators_of_another_world_do_not_upset_the_join(tflite_net: Callable[..., Path]) -> None:
    graph = TFLiteGraph.read(tflite_net())
    strange = [*events("Warp (XX)", "???"), {"op": "CUSTOM", "delegated": False, "node": 99}]
    nodes = litert.join(strange, graph)
    assert len(nodes) == 3
    assert all(node.cost.macs in (0, None) for node in nodes)


def test_the_order_of_operators_around_one_that_the_delegate_leaves(tflite_net: Callable[..., Path]) -> None:
    graph = TFLiteGraph.read(tflite_net(outside=True))
    assert [node.op for node in graph.nodes][2] == "LOCAL_RESPONSE_NORMALIZATION"
    assert graph.order({2}) == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(graph.order({0, 3, 5})) == list(range(7))
    assert graph.order(set()) == list(range(7))


def trt_row(name: str, op: str, **more: Any) -> dict[str, Any]:
    int8 = "Thirty-two wide channel vectorized row major Int8 format"
    tensors = {"inputs": [(int8, (1, 32, 56, 56))], "outputs": [(int8, (1, 64, 28, 28))]}
    return {"name": name, "op": op, "weights": 0, "details": {}, **tensors, **more}


def test_tensorrt_layers() -> None:
    convolution = trt_row("conv", "CaskConvolution", weights=64 * 32 * 9, details={"ParameterType": "Convolution"})
    reformat = trt_row("q", "Reformat", details={"Origin": "QDQ", "ParameterType": "Reformat"})
    copy = trt_row("Reformatting CopyNode for Input Tensor 0 to conv", "", inputs=[], outputs=[])
    melted = trt_row("{ForeignNode[a...b]}", "Myelin", inputs=[("Row major linear FP16 format", (1, 8))])
    nodes = [tensorrt.describe(row) for row in (convolution, reformat, copy, melted)]
    assert nodes[0].cost == Cost(
        28 * 28 * 64 * 32 * 9, 2 * 28 * 28 * 64 * 32 * 9, 64 * 32 * 9, 32 * 56 * 56 + 64 * 28 * 28
    )
    assert [node.kind for node in nodes] == ["integer", "conversion", "conversion", "float"]
    assert nodes[3].precision == "fp16" and nodes[3].cost.macs is None


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Row major linear FP32", "float32"),
        ("Channel major FP16 format where C % 4 == 0", "float16"),
        ("Half", "float16"),
        ("Float", "float32"),
        ("Row major Int8 format", "int8"),
        ("Int32", "int32"),
        ("BF16", "bfloat16"),
        ("", "?"),
    ],
)
def test_tensorrts_words_for_types(text: str, dtype: str) -> None:
    assert tensorrt.dtype_of(text) == dtype
