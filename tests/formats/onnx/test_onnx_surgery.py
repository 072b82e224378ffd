"""Graph surgery: the same function, with nothing in it that integer runtimes cannot fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.core.third_party import quiet
from edgecnn.formats.onnx.surgery import SCOPES, means_to_pooling, name_after_modules, operate

RANDOM = np.random.default_rng(0)


def constant(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32), name)


def positive(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((RANDOM.random(shape) + 0.5).astype(np.float32), name)


def indices(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def model(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], out: str, *, opset: int = 18
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    return inferred


def answer(proto: onnx.ModelProto) -> np.ndarray:
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"input": images})[0]
    return found


def assert_same(before: onnx.ModelProto, after: ir.Model) -> None:
    proto = ir.to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    expected, found = answer(before), answer(proto)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=1e-5, rel=1e-4)


def mean(axes: Sequence[int], *, keep: int | None, as_input: bool, rank: str = "input") -> onnx.ModelProto:
    options: dict[str, Any] = {} if keep is None else {"keepdims": keep}
    if as_input:
        node = helper.make_node("ReduceMean", [rank, "axes"], ["mean"], "avgpool", **options)
        return model([node], [indices("axes", *axes)], "mean")
    node = helper.make_node("ReduceMean", [rank], ["mean"], "avgpool", axes=list(axes), **options)
    return model([node], [], "mean", opset=17)


@pytest.mark.parametrize("as_input", [True, False], ids=["axes are an input", "axes are an attribute"])
@pytest.mark.parametrize("keep", [0, 1, None])
@pytest.mark.parametrize("axes", [(2, 3), (-1, -2), (3, 2), (2, -1)], ids=str)
def test_a_mean_over_space_becomes_a_pool(axes: tuple[int, int], keep: int | None, as_input: bool) -> None:
    before = mean(axes, keep=keep, as_input=as_input)
    after = ir.from_proto(before)
    assert means_to_pooling(after) == 1
    kinds = [node.op_type for node in after.graph]
    assert kinds == (["GlobalAveragePool", "Flatten"] if keep == 0 else ["GlobalAveragePool"])
    assert [value.name for value in after.graph.outputs] == ["mean"]
    assert_same(before, after)


@pytest.mark.parametrize("axes", [(1,), (1, 2), (1, 2, 3), (0, 2, 3), (2,)], ids=str)
def test_a_mean_over_anything_else_is_left(axes: tuple[int, ...]) -> None:
    after = ir.from_proto(mean(axes, keep=1, as_input=True))
    assert means_to_pooling(after) == 0
    assert [node.op_type for node in after.graph] == ["ReduceMean"]


def test_a_mean_over_everything_is_left() -> None:
    node = helper.make_node("ReduceMean", ["input"], ["mean"], "avgpool")
    after = ir.from_proto(model([node], [], "mean"))
    assert means_to_pooling(after) == 0


def test_a_mean_of_a_sequence_is_left() -> None:
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["tokens"], "tokens"),
        helper.make_node("ReduceMean", ["tokens", "axes"], ["mean"], "avgpool"),
    ]
    after = ir.from_proto(model(nodes, [indices("shape", 0, 3, 64), indices("axes", 1, 2)], "mean"))
    assert means_to_pooling(after) == 0


def padded_conv_with_norm() -> onnx.ModelProto:
    """Pad → Conv → BatchNormalization → · (2 + 3) → mean → Gemm, as an exporter that folds nothing writes it."""
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2.0))),
        helper.make_node("Constant", [], ["three"], value=numpy_helper.from_array(np.float32(3.0))),
        helper.make_node("Add", ["two", "three"], ["five"], "sum"),
        helper.make_node("Pad", ["input", "pads"], ["padded"], "pad"),
        helper.make_node("Conv", ["padded", "stem.conv.weight"], ["conv"], "node_3"),
        helper.make_node("BatchNormalization", ["conv", "s", "b", "m", "v"], ["norm"], "node_4"),
        helper.make_node("Mul", ["norm", "five"], ["scaled"], "node_5"),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], "node_6", keepdims=0),
        helper.make_node("Gemm", ["mean", "head.weight", "head.bias"], ["logits"], "node_7", transB=1),
    ]
    constants = [
        constant("stem.conv.weight", 4, 3, 3, 3),
        *(constant(name, 4) for name in "sbm"),
        positive("v", 4),
        indices("pads", 0, 0, 1, 1, 0, 0, 1, 1),
        indices("axes", -1, -2),
        constant("head.weight", 5, 4),
        constant("head.bias", 5),
    ]
    return model(nodes, constants, "logits")


def test_what_does_not_depend_on_the_input_is_folded() -> None:
    before = padded_conv_with_norm()
    with quiet():
        after = operate(ir.from_proto(before))
    assert [node.op_type for node in after.graph] == ["Conv", "Mul", "GlobalAveragePool", "Flatten", "Gemm"]
    assert_same(before, after)


def test_weighted_nodes_are_named_after_their_module() -> None:
    with quiet():
        after = operate(ir.from_proto(padded_conv_with_norm()))
    names = {node.op_type: node.name for node in after.graph}
    assert (names["Conv"], names["Gemm"]) == ("stem.conv", "head")


def test_names_are_unique_even_against_the_names_they_evade() -> None:
    """Two additions in the module `block`, which has a child that is really called `add1`."""
    scopes = {
        "a": "['', 'block', 'add']",
        "b": "['', 'block', 'add_1']",
        "c": "['', 'block', 'block.add1', 'add_2']",
        "d": "",
    }
    nodes = [helper.make_node("Add", ["input", "input"], [name], name) for name in scopes]
    nodes.append(helper.make_node("Sum", list(scopes), ["out"], "block"))
    after = ir.from_proto(model(nodes, [], "out"))
    for node in after.graph:
        node.metadata_props[SCOPES] = scopes.get(str(node.name), "")
    name_after_modules(after)
    names = [str(node.name) for node in after.graph]
    assert len(set(names)) == len(names)
    assert names[0] == "block"
    assert names[2] == "block.add1", "a module's own name is left to it"
    assert names[3] == "d", "without a module a node keeps the name it had"
