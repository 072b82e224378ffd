"""TFLite files: inputs, outputs, operators, the type that each layer's weights have, metadata."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import TensorSpec
from edgecnn.core.errors import MissingError, install_hint
from edgecnn.core.third_party import parsing
from edgecnn.formats.inspect import METADATA_KEY, ExportedModel

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def read(path: Path) -> ExportedModel:
    """What a TFLite file holds. Raises InputError when it cannot be parsed, MissingError without the `tflite` extra."""
    try:
        schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingError(
            "missing-litert",
            "reading a TFLite file needs LiteRT, which is not installed",
            hint=install_hint("tflite"),
        ) from error
    with parsing(path, "TFLite file"):
        return _read(path, schema, schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0))


def _read(path: Path, schema: Any, model: Any) -> ExportedModel:
    graph = model.subgraphs[0]
    operators = [_operator(model.operatorCodes[item.opcodeIndex], schema) for item in graph.operators]
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    layers: Counter[str] = Counter()
    for name, item in zip(operators, graph.operators, strict=True):
        if name in WEIGHTED:
            layers[types[graph.tensors[item.inputs[1]].type]] += 1
    metadata = _metadata(model)
    return ExportedModel(
        format="tflite",
        inputs=tuple(_spec(graph.tensors[i], types) for i in graph.inputs),
        outputs=tuple(_spec(graph.tensors[i], types) for i in graph.outputs),
        opset=f"schema {model.version}",
        operators=dict(Counter(operators).most_common()),
        layers=dict(layers.most_common()),
        size_bytes=path.stat().st_size,
        metadata={name: _shown(raw) for name, raw in metadata.items()},
        about=metadata.get(METADATA_KEY, b"").rstrip(b"\0").decode("utf-8", "replace"),
    )


def _operator(code: Any, schema: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str((code.customCode or b"CUSTOM").decode())
    return next(str(name) for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _spec(tensor: Any, types: Mapping[int, str]) -> TensorSpec:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple("N" if int(size) < 0 else int(size) for size in signature)
    return TensorSpec(tensor.name.decode(), shape, types[tensor.type], "NHWC" if len(shape) == 4 else None)


def _metadata(model: Any) -> dict[str, bytes]:
    buffers = {item.name.decode(): model.buffers[item.buffer].data for item in model.metadata or []}
    return {name: b"" if data is None else bytes(data) for name, data in buffers.items()}


def _shown(raw: bytes) -> str:
    """An entry that is text; another by its size."""
    text = raw.rstrip(b"\0").decode("utf-8", "replace")
    return text if text.isprintable() and len(text) <= 2000 else f"{len(raw)} bytes"
