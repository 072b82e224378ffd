"""ONNX files: inputs, outputs, operators, the type that each layer's weights have, metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from edgecnn.core.artifact import TensorSpec
from edgecnn.core.third_party import parsing
from edgecnn.formats.inspect import METADATA_KEY, ExportedModel

WEIGHTED = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "LSTM", "GRU", "RNN"), 1
    ),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
"""Operators with weights, and which of their inputs those are."""
PASSING = (
    *("DequantizeLinear", "QuantizeLinear", "Cast", "CastLike", "Identity"),
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Pad", "Clip"),
)
"""Operators between a layer and its stored weights: type and layout change, the values do not."""
LONGEST_WAY = 16
UNKNOWN = "?"
"""A size that the file does not say."""
NO_RANK = "..."
CONSTANT_ATTRIBUTES = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}


class Scope(NamedTuple):
    """What a node may name: the types of stored tensors, and which node makes what; those of the graphs around too."""

    stored: Mapping[str, str]
    makers: Mapping[str, Any]


def read(path: Path) -> ExportedModel:
    """What an ONNX file holds. Raises InputError when it cannot be parsed."""
    with parsing(path, "ONNX file"):
        return _read(path, onnx.load(path, load_external_data=False))


def _read(path: Path, model: Any) -> ExportedModel:
    graph, found = model.graph, list(_graphs(model.graph, Scope({}, {})))
    weights = {item.name for item in graph.initializer}
    opsets = ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in model.opset_import)
    tensors = [tensor for inner, _ in found for tensor in _tensors(inner)]
    beside = {entry.value for item in tensors for entry in item.external_data if entry.key == "location"}
    metadata = {item.key: item.value for item in model.metadata_props}
    nodes = [(node, scope) for inner, scope in found for node in inner.node]
    layers = Counter(kind for node, scope in nodes if (kind := _weight_type(node, scope)))
    return ExportedModel(
        format="onnx",
        inputs=tuple(_spec(item) for item in graph.input if item.name not in weights),
        outputs=tuple(_spec(item) for item in graph.output),
        opset=opsets,
        operators=dict(Counter(node.op_type for node, _ in nodes).most_common()),
        layers=dict(layers.most_common()),
        size_bytes=path.stat().st_size + sum(_size(path.parent / name) for name in beside),
        metadata=metadata,
        about=metadata.get(METADATA_KEY, ""),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _graphs(graph: Any, around: Scope) -> Iterator[tuple[Any, Scope]]:
    """A graph and those inside its nodes, the branches of an If for example, each with what its nodes may name."""
    stored, makers = dict(around.stored), dict(around.makers)
    stored |= {item.name: _type(item.data_type) for item in graph.initializer}
    stored |= {item.values.name: f"{_type(item.values.data_type)} sparse" for item in graph.sparse_initializer}
    for node in graph.node:
        kind = _constant_type(node)
        for name in node.output:
            makers[name] = node
            if kind:
                stored[name] = kind
            else:
                stored.pop(name, None)
    scope = Scope(stored, makers)
    yield graph, scope
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner, scope)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _constant_type(node: Any) -> str:
    """The type of what a node holds in its attributes; empty for a node that computes."""
    if node.op_type == "ConstantOfShape":
        return next((_type(item.t.data_type) for item in node.attribute if item.name == "value"), "float32")
    if node.op_type != "Constant":
        return ""
    for item in node.attribute:
        if item.name == "value":
            return _type(item.t.data_type)
        if item.name == "sparse_value":
            return f"{_type(item.sparse_tensor.values.data_type)} sparse"
        if item.name in CONSTANT_ATTRIBUTES:
            return CONSTANT_ATTRIBUTES[item.name]
    return ""


def _spec(value: Any) -> TensorSpec:
    kind = value.type.WhichOneof("value") or "tensor_type"
    if kind != "tensor_type":
        return TensorSpec(value.name, (NO_RANK,), kind.removesuffix("_type"), None)
    tensor = value.type.tensor_type
    shape: tuple[int | str, ...] = (NO_RANK,)
    if tensor.HasField("shape"):
        shape = tuple(_side(item) for item in tensor.shape.dim)
    return TensorSpec(value.name, shape, _type(tensor.elem_type), "NCHW" if len(shape) == 4 else None)


def _side(dim: Any) -> int | str:
    """A size, or what it is called; files write 0 and -1 for sizes that are free."""
    if dim.WhichOneof("value") == "dim_value":
        return int(dim.dim_value) if dim.dim_value > 0 else UNKNOWN
    return str(dim.dim_param) or UNKNOWN


def _type(number: int) -> str:
    names = {"float": "float32", "double": "float64"}
    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return names.get(name, name)


def _weight_type(node: Any, scope: Scope) -> str:
    """The type in which a layer's weights are stored, followed through DequantizeLinear, Cast and the like; empty for a
    node without weights."""
    place = WEIGHTED.get(node.op_type)
    if place is None or len(node.input) <= place:
        return ""
    name = node.input[place]
    for _ in range(LONGEST_WAY):
        maker = scope.makers.get(name)
        if name in scope.stored or maker is None or maker.op_type not in PASSING or not maker.input:
            break
        name = maker.input[0]
    return scope.stored.get(name, "")
