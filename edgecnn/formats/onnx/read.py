"""ONNX files: inputs, outputs, operators, the type that each layer's weights have, metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from edgecnn.core.artifact import TensorSpec
from edgecnn.core.third_party import parsing
from edgecnn.formats.inspect import METADATA_KEY, ExportedModel

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def read(path: Path) -> ExportedModel:
    """What an ONNX file holds. Raises InputError when it cannot be parsed."""
    with parsing(path, "ONNX file"):
        return _read(path, onnx.load(path, load_external_data=False))


def _read(path: Path, model: Any) -> ExportedModel:
    graph = model.graph
    weights = {item.name: item for item in graph.initializer}
    opsets = ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in model.opset_import)
    beside = {entry.value for item in graph.initializer for entry in item.external_data if entry.key == "location"}
    metadata = {item.key: item.value for item in model.metadata_props}
    return ExportedModel(
        format="onnx",
        inputs=tuple(_spec(item) for item in graph.input if item.name not in weights),
        outputs=tuple(_spec(item) for item in graph.output),
        opset=opsets,
        operators=dict(Counter(node.op_type for node in graph.node).most_common()),
        layers=_layers(graph, weights),
        size_bytes=path.stat().st_size + sum(_size(path.parent / name) for name in beside),
        metadata=metadata,
        about=metadata.get(METADATA_KEY, ""),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(item.dim_param or item.dim_value for item in tensor.shape.dim)
    return TensorSpec(value.name, shape, _type(tensor.elem_type), "NCHW" if len(shape) == 4 else None)


def _type(number: int) -> str:
    names = {"float": "float32", "double": "float64"}
    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return names.get(name, name)


def _layers(graph: Any, weights: Mapping[str, Any]) -> dict[str, int]:
    """Follow each layer's weight through DequantizeLinear, Cast and the like to what is stored."""
    makers = {name: node for node in graph.node for name in node.output}
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        name = node.input[3] if node.op_type.startswith("QLinear") else node.input[1]
        for _ in range(8):
            if name in weights or name not in makers or not makers[name].input:
                break
            name = makers[name].input[0]
        if name in weights:
            counts[_type(weights[name].data_type)] += 1
    return dict(counts.most_common())
