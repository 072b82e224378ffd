"""Convolutional nets of a few layers, as ONNX and TFLite, in FP32 and INT8, with every shape known by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = 64
"""Height and width of the image."""


@pytest.fixture
def macs() -> dict[str, int]:
    """By hand: output elements times what each of them takes."""
    places = (SIZE // 2) ** 2
    return {"stem": places * 8 * 27, "dw": places * 8 * 9, "pw": places * 16 * 8, "fc": 16 * 5}


@pytest.fixture
def onnx_net(tmp_path: Path) -> Callable[..., Path]:
    """`onnx_net()`, `onnx_net(int8=True)`: (1, 3, 64, 64) -> (1, 5): stem, depthwise, pointwise, sum, pool, product.

    `float_layers` names those that have no Q/DQ pairs.
    """
    pytest.importorskip("onnx")

    def build(*, int8: bool = False, float_layers: Sequence[str] = (), name: str = "net.onnx") -> Path:
        net = _Onnx(int8=int8, float_layers=float_layers)
        y = net.conv("stem", "x", (8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
        y = net.conv("dw", y, (8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
        y = net.conv("pw", y, (16, 8, 1, 1), relu=False)
        y = net.add("sum", y)
        return net.save(y, tmp_path / name)

    return build


class _Onnx:
    """A graph under construction; `int8` puts a Q/DQ pair on every value and weight, in the way ONNX Runtime fuses."""

    def __init__(self, *, int8: bool, float_layers: Sequence[str]) -> None:
        import onnx

        self.onnx, self.int8, self.float_layers = onnx, int8, float_layers
        self.nodes: list[Any] = []
        self.values: list[Any] = []
        self.rng = np.random.default_rng(0)

    def node(self, op: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name=name or output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.values.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def pair(self, value: str) -> str:
        """`value` through QuantizeLinear and DequantizeLinear."""
        if not self.int8:
            return value
        scale = self.constant(f"{value}/s", np.float32(0.05))
        zero = self.constant(f"{value}/z", np.uint8(0 if value.endswith("relu") else 128))  # then the ReLU is absorbed
        coded = self.node("QuantizeLinear", [value, scale, zero], f"{value}/q")
        return self.node("DequantizeLinear", [coded, scale, zero], f"{value}/dq")

    def weight(self, name: str, shape: tuple[int, ...], axis: int) -> str:
        values = self.rng.standard_normal(shape).astype(np.float32)
        if not self.int8 or name in self.float_layers:
            return self.constant(f"{name}.weight", values)
        channels = shape[axis]
        scale = self.constant(f"{name}.weight/s", np.full(channels, 0.02, np.float32))
        zero = self.constant(f"{name}.weight/z", np.zeros(channels, np.int8))
        codes = self.constant(f"{name}.weight/c", np.clip(values / 0.02, -127, 127).astype(np.int8))
        return self.node("DequantizeLinear", [codes, scale, zero], f"{name}.weight", axis=axis)

    def conv(self, name: str, x: str, shape: tuple[int, ...], *, relu: bool = True, **attributes: Any) -> str:
        x = x if name in self.float_layers else self.pair(x)
        weight = self.weight(name, shape, 0)
        y = self.node("Conv", [x, weight], f"{name}/y", name, kernel_shape=list(shape[2:]), **attributes)
        return self.node("Relu", [y], f"{name}/relu") if relu else y

    def add(self, name: str, x: str) -> str:
        x = self.pair(x)
        return self.node("Add", [x, x], f"{name}/y", name)

    def save(self, y: str, path: Path) -> Path:
        helper, real = self.onnx.helper, self.onnx.TensorProto.FLOAT
        pooled = self.node("GlobalAveragePool", [self.pair(y)], "pooled")
        flat = self.node("Flatten", [self.pair(pooled)], "flat")
        out = self.node("Gemm", [flat, self.weight("fc", (5, 16), 0)], "y", "fc", transB=1)
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", real, [1, 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(out, real, [1, 5])],
            self.values,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        self.onnx.checker.check_model(model)
        self.onnx.save(model, path)
        return path


@pytest.fixture
def tflite_net(tmp_path: Path) -> Callable[..., Path]:
    """`tflite_net()`, `tflite_net(int8=True)`: the same net, NHWC; `outside` puts in an operator that XNNPACK leaves
    alone."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("flatbuffers")

    def build(*, int8: bool = False, outside: bool = False, name: str = "net.tflite") -> Path:
        net = _TFLite(int8=int8)
        half = SIZE // 2
        y = net.conv("stem", net.activation("image", (1, SIZE, SIZE, 3)), (8, 3, 3, 3), (1, half, half, 8), stride=2)
        y = net.conv("dw", y, (1, 3, 3, 8), (1, half, half, 8), depthwise=True)
        if outside:
            y = net.outside("norm", y, (1, half, half, 8))
        y = net.conv("pw", y, (16, 1, 1, 8), (1, half, half, 16))
        y = net.operator("ADD", [y, y], net.activation("sum", (1, half, half, 16)), "AddOptions")
        y = net.operator("MEAN", [y, net.axes()], net.activation("pooled", (1, 16)), "ReducerOptions")
        y = net.product("fc", y, (5, 16), (1, 5))
        return net.save(y, tmp_path / name)

    return build


class _TFLite:
    """A flatbuffer under construction; int8 values have one scale, weights one per channel."""

    def __init__(self, *, int8: bool) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.int8 = schema, int8
        self.graph, self.model = schema.SubGraphT(), schema.ModelT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.version, self.model.operatorCodes, self.model.subgraphs = 3, [], [self.graph]
        self.model.buffers = [schema.BufferT()]
        self.rng = np.random.default_rng(0)

    def tensor(self, name: str, shape: tuple[int, ...], kind: str, value: np.ndarray | None = None) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), getattr(self.schema.TensorType, kind)
        made.buffer = 0
        if value is not None:
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(self.schema.BufferT())
            self.model.buffers[-1].data = np.frombuffer(value.tobytes(), np.uint8)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...]) -> int:
        index = self.tensor(name, shape, "INT8" if self.int8 else "FLOAT32")
        if self.int8:
            self.scaled(index, [0.05], axis=0)
        return index

    def scaled(self, index: int, scales: list[float], axis: int) -> None:
        made = self.schema.QuantizationParametersT()
        made.scale, made.zeroPoint, made.quantizedDimension = scales, [0] * len(scales), axis
        self.graph.tensors[index].quantization = made

    def weight(self, name: str, shape: tuple[int, ...], axis: int) -> list[int]:
        """The weight and the bias."""
        channels = shape[axis]
        if not self.int8:
            values = self.rng.standard_normal(shape).astype(np.float32)
            bias = self.tensor(f"{name}.bias", (channels,), "FLOAT32", np.zeros(channels, np.float32))
            return [self.tensor(f"{name}.weight", shape, "FLOAT32", values), bias]
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        weight = self.tensor(f"{name}.weight", shape, "INT8", codes)
        self.scaled(weight, [0.01] * channels, axis)
        bias = self.tensor(f"{name}.bias", (channels,), "INT32", np.zeros(channels, np.int32))
        self.scaled(bias, [0.05 * 0.01] * channels, 0)
        return [weight, bias]

    def operator(self, op: str, inputs: list[int], output: int, options: str = "") -> int:
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, op)
        quantized = 3 if op in ("CONV_2D", "DEPTHWISE_CONV_2D") and self.int8 else 2
        code.version = 1 if op == "LOCAL_RESPONSE_NORMALIZATION" else quantized
        self.model.operatorCodes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, options + "T")()
        self.graph.operators.append(made)
        return output

    def conv(self, name: str, x: int, shape: tuple[int, ...], out: tuple[int, ...], **about: Any) -> int:
        depthwise = about.get("depthwise", False)
        inputs = [x, *self.weight(name, shape, 3 if depthwise else 0)]
        kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        y = self.operator(op, inputs, self.activation(f"{name}/y", out), kind)
        options = self.graph.operators[-1].builtinOptions
        options.strideH = options.strideW = about.get("stride", 1)
        if depthwise:
            options.depthMultiplier = 1
        return y

    def outside(self, name: str, x: int, shape: tuple[int, ...]) -> int:
        """A local response normalisation: LiteRT has a kernel for it, XNNPACK has not."""
        y = self.operator("LOCAL_RESPONSE_NORMALIZATION", [x], self.activation(name, shape))
        made = self.graph.operators[-1]
        made.builtinOptionsType = self.schema.BuiltinOptions.LocalResponseNormalizationOptions
        made.builtinOptions = self.schema.LocalResponseNormalizationOptionsT()
        made.builtinOptions.radius, made.builtinOptions.bias = 2, 1.0
        made.builtinOptions.alpha, made.builtinOptions.beta = 1.0, 0.5
        return y

    def axes(self) -> int:
        return self.tensor("axes", (2,), "INT32", np.array([1, 2], np.int32))

    def product(self, name: str, x: int, shape: tuple[int, ...], out: tuple[int, ...]) -> int:
        inputs = [x, *self.weight(name, shape, 0)]
        return self.operator("FULLY_CONNECTED", inputs, self.activation(f"{name}/y", out), "FullyConnectedOptions")

    def save(self, y: int, path: Path) -> Path:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = [0], [y]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path
