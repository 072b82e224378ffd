"""Exported models from anywhere: inspected, or refused by an InputError; nothing else, whatever the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import JSON, damaged, examples
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.core.errors import InputError
from edgecnn.formats.inspect import read

onnx = pytest.importorskip("onnx")


def onnx_file(about: str = "{}") -> bytes:
    """A convolution with its weight behind a DequantizeLinear."""
    helper, kind = onnx.helper, onnx.TensorProto
    floats = [
        helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", kind.FLOAT, [1, 2, 6, 6]),
    ]
    weight = helper.make_tensor("q", kind.INT8, [2, 3, 3, 3], bytes(54), raw=True)
    scale = helper.make_tensor("s", kind.FLOAT, [], [0.1])
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", floats[:1], floats[1:], [weight, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"edgecnn": about})
    return bytes(model.SerializeToString())


def tflite_file() -> bytes:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    tensors = []
    for name in (b"x", b"w", b"b", b"y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 2], schema.TensorType.FLOAT32, 0
        tensors.append(tensor)
    operator, code, graph, model = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 1, 2], [3], 0
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [operator], [0], [3]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model"


def inspected(path: Path, format: str, raw: bytes) -> None:
    path.write_bytes(raw)
    try:
        read(path, format).exported_as()
    except InputError as error:
        assert error.code == "damaged-file"


@examples(300)
@given(raw=damaged(onnx_file()))
def test_damaged_onnx(path: Path, raw: bytes) -> None:
    inspected(path, "onnx", raw)


@examples(60)
@given(about=JSON.map(str) | st.text(max_size=40))
def test_what_an_onnx_file_says_of_itself(path: Path, about: str) -> None:
    inspected(path, "onnx", onnx_file(about.encode("utf-8", "replace").decode()))


def test_damaged_tflite(path: Path) -> None:
    whole = tflite_file()

    @examples(300)
    @given(raw=damaged(whole))
    def damage(raw: bytes) -> None:
        inspected(path, "tflite", raw)

    path.write_bytes(whole)
    assert read(path, "tflite").layers == {"float32": 1}
    damage()


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000, "../" * 900])
def test_external_data_in_odd_places(path: Path, location: str) -> None:
    model = onnx.load_from_string(onnx_file())
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", location
    inspected(path, "onnx", model.SerializeToString())
