"""Tiny model files: an ONNX classifier, and LiteRT averages over the pixels, float and 8-bit, NHWC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.probe.sensors.machine import Machine


@pytest.fixture
def onnx_model(tmp_path: Path) -> Path:
    """(n, 3, 8, 8) -> (n, 5): average over pixels, then a fixed matrix; batch free."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 5])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def tflite_model(tmp_path: Path) -> Callable[..., Path]:
    """`tflite_model("float32")` or ("int8"): the mean of an 8x8 image per channel, (1, 8, 8, 3) -> (1, 3)."""
    pytest.importorskip("ai_edge_litert")
    flatbuffers = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    def build(dtype: str, *, scale: float = 0.02, zero_point: int = -3) -> Path:
        kinds = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8}

        def tensor(name: str, shape: list[int], buffer: int, kind: int) -> object:
            made = schema.TensorT()
            made.name, made.shape, made.buffer, made.type = name, shape, buffer, kind
            if kind == schema.TensorType.INT8:
                made.quantization = schema.QuantizationParametersT()
                made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
            return made

        graph = schema.SubGraphT()
        axes = tensor("axes", [2], 1, schema.TensorType.INT32)
        graph.tensors = [tensor("image", [1, 8, 8, 3], 0, kinds[dtype]), axes, tensor("mean", [1, 3], 0, kinds[dtype])]
        graph.inputs, graph.outputs = [0], [2]
        mean = schema.OperatorT()
        mean.opcodeIndex, mean.inputs, mean.outputs = 0, [0, 1], [2]
        mean.builtinOptionsType, mean.builtinOptions = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
        graph.operators = [mean]
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
        code.version = 2
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
        model.buffers = [schema.BufferT(), schema.BufferT()]
        model.buffers[1].data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / f"mean_{dtype}.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path

    return build


@pytest.fixture
def tflite_reshape(tmp_path: Path) -> Path:
    """(1, 4) -> (1, 4) through a RESHAPE whose sizes are written into the file."""
    pytest.importorskip("ai_edge_litert")
    flatbuffers = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], buffer: int, kind: int) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name, shape, buffer, kind
        return made

    floats, sizes = schema.TensorType.FLOAT32, schema.TensorType.INT32
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, 4], 0, floats), tensor("sizes", [2], 1, sizes), tensor("y", [1, 4], 0, floats)]
    graph.inputs, graph.outputs = [0], [2]
    reshape = schema.OperatorT()
    reshape.opcodeIndex, reshape.inputs, reshape.outputs = 0, [0, 1], [2]
    graph.operators = [reshape]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.array([1, 4], np.int32).tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "reshape.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[dict[str, str]], Machine]:
    """`plant({"sys/...": "content"})`: a machine of files; those in a `bin` can be run."""

    def build(files: dict[str, str]) -> Machine:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            if path.parent.name in ("bin", "sbin"):
                path.chmod(0o755)
        return Machine(str(tmp_path))

    return build
