"""What an exported file holds: inputs, outputs, operators, the type each layer's weights have, metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import TensorSpec
from edgecnn.core.errors import InputError, MissingError, install_hint

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_WEIGHTED_TFLITE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """`operators` counts operator types; `layers` counts the layers with weights by the type the weights are stored in;
    `size_bytes` is that of the file (and of external data beside it)."""

    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: str
    operators: Mapping[str, int]
    layers: Mapping[str, int]
    size_bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_onnx(path: Path) -> ExportedModel:
    """What an ONNX file holds. Raises InputError when it cannot be parsed."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InputError("damaged-file", f"{path} is not a readable ONNX file", why=str(error)) from error
    graph = model.graph
    weights = {item.name: item for item in graph.initializer}
    opsets = ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in model.opset_import)
    beside = {entry.value for item in graph.initializer for entry in item.external_data if entry.key == "location"}
    return ExportedModel(
        format="onnx",
        inputs=tuple(_onnx_spec(item) for item in graph.input if item.name not in weights),
        outputs=tuple(_onnx_spec(item) for item in graph.output),
        opset=opsets,
        operators=dict(Counter(node.op_type for node in graph.node).most_common()),
        layers=_onnx_layers(graph, weights),
        size_bytes=path.stat().st_size + sum(_size(path.parent / name) for name in beside),
        metadata={item.key: item.value for item in model.metadata_props},
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _onnx_spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(item.dim_param or item.dim_value for item in tensor.shape.dim)
    return TensorSpec(value.name, shape, _onnx_type(tensor.elem_type, onnx), "NCHW" if len(shape) == 4 else None)


def _onnx_type(number: int, onnx: Any) -> str:
    names = {"float": "float32", "double": "float64"}
    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return names.get(name, name)


def _onnx_layers(graph: Any, weights: Mapping[str, Any]) -> dict[str, int]:
    """Follow each layer's weight through DequantizeLinear, Cast and the like to what is stored."""
    import onnx

    makers = {name: node for node in graph.node for name in node.output}
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type not in _WEIGHTED:
            continue
        name = node.input[3] if node.op_type.startswith("QLinear") else node.input[1]
        for _ in range(8):
            if name in weights or name not in makers or not makers[name].input:
                break
            name = makers[name].input[0]
        if name in weights:
            counts[_onnx_type(weights[name].data_type, onnx)] += 1
    return dict(counts.most_common())


def read_tflite(path: Path) -> ExportedModel:
    """What a TFLite file holds. Raises InputError when it cannot be parsed, MissingError without the `tflite` extra."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingError(
            "missing-litert",
            "reading a TFLite file needs LiteRT, which is not installed",
            hint=install_hint("tflite"),
        ) from error
    try:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        graph = model.subgraphs[0]
        operators = [_tflite_operator(model.operatorCodes[item.opcodeIndex], schema) for item in graph.operators]
    except Exception as error:
        raise InputError("damaged-file", f"{path} is not a readable TFLite file", why=f"{error}") from error
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    layers: Counter[str] = Counter()
    for name, item in zip(operators, graph.operators, strict=True):
        if name in _WEIGHTED_TFLITE:
            layers[types[graph.tensors[item.inputs[1]].type]] += 1
    return ExportedModel(
        format="tflite",
        inputs=tuple(_tflite_spec(graph.tensors[i], types) for i in graph.inputs),
        outputs=tuple(_tflite_spec(graph.tensors[i], types) for i in graph.outputs),
        opset=f"schema {model.version}",
        operators=dict(Counter(operators).most_common()),
        layers=dict(layers.most_common()),
        size_bytes=path.stat().st_size,
        metadata=_tflite_metadata(model),
    )


def _tflite_operator(code: Any, schema: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str((code.customCode or b"CUSTOM").decode())
    return next(str(name) for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _tflite_spec(tensor: Any, types: Mapping[int, str]) -> TensorSpec:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple("N" if int(size) < 0 else int(size) for size in signature)
    return TensorSpec(tensor.name.decode(), shape, types[tensor.type], "NHWC" if len(shape) == 4 else None)


def _tflite_metadata(model: Any) -> dict[str, str]:
    """Entries that are text; others by their size."""
    found = {}
    for item in model.metadata or []:
        data = model.buffers[item.buffer].data
        raw = b"" if data is None else bytes(data)
        text = raw.rstrip(b"\0").decode("utf-8", "replace")
        found[item.name.decode()] = text if text.isprintable() and len(text) <= 2000 else f"{len(raw)} bytes"
    return found
