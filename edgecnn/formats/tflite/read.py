"""TFLite files: inputs, outputs, operators, the type that each layer's weights have, metadata."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import TensorSpec
from edgecnn.core.errors import MissingError, install_hint
from edgecnn.core.third_party import parsing
from edgecnn.formats.inspect import METADATA_KEY, ExportedModel

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
PASSING = ("DEQUANTIZE", "DENSIFY", "QUANTIZE", "CAST", "RESHAPE", "TRANSPOSE")
"""Operators between a layer and its stored weights: FP16 files turn them into float32 when they run, sparse ones into
dense."""
LONGEST_WAY = 16
UNKNOWN = "?"
"""A size that the file leaves free."""


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
    codes = [_operator(item, schema) for item in model.operatorCodes]
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    operators: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for inner in model.subgraphs:  # the branches of an IF are subgraphs beside the first
        named = [(codes[item.opcodeIndex], item) for item in inner.operators or ()]
        operators.update(name for name, _ in named)
        layers.update(_weight_types(inner, named, types))
    metadata = _metadata(model)
    return ExportedModel(
        format="tflite",
        inputs=tuple(_spec(graph.tensors[i], types) for i in graph.inputs),
        outputs=tuple(_spec(graph.tensors[i], types) for i in graph.outputs),
        opset=f"schema {model.version}",
        operators=dict(operators.most_common()),
        layers=dict(layers.most_common()),
        size_bytes=path.stat().st_size,
        metadata={name: _shown(raw) for name, raw in metadata.items()},
        about=metadata.get(METADATA_KEY, b"").rstrip(b"\0").decode("utf-8", "replace"),
    )


def _weight_types(graph: Any, named: list[tuple[str, Any]], types: Mapping[int, str]) -> Iterator[str]:
    """The type in which each layer's weights are stored; layers that multiply two computed tensors have none."""
    makers = {int(index): (name, item) for name, item in named for index in item.outputs}
    fed = {int(index) for index in graph.inputs}
    for name, item in named:
        if name not in WEIGHTED or len(item.inputs) < 2:
            continue
        index, sparse = int(item.inputs[1]), False
        for _ in range(LONGEST_WAY):
            maker, before = makers.get(index, ("", None))
            if before is None or maker not in PASSING:
                break
            sparse |= maker == "DENSIFY"
            index = int(before.inputs[0])
        if index not in makers and index not in fed:
            tensor = graph.tensors[index]
            sparse |= tensor.sparsity is not None
            yield f"{types[tensor.type]} sparse" if sparse else types[tensor.type]


def _operator(code: Any, schema: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str((code.customCode or b"CUSTOM").decode())
    return next(str(name) for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _spec(tensor: Any, types: Mapping[int, str]) -> TensorSpec:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple(UNKNOWN if int(size) < 0 else int(size) for size in signature)
    return TensorSpec(tensor.name.decode(), shape, types[tensor.type], "NHWC" if len(shape) == 4 else None)


def _metadata(model: Any) -> dict[str, bytes]:
    buffers = {item.name.decode(): model.buffers[item.buffer].data for item in model.metadata or []}
    return {name: b"" if data is None else bytes(data) for name, data in buffers.items()}


def _shown(raw: bytes) -> str:
    """An entry that is text; another by its size."""
    text = raw.rstrip(b"\0").decode("utf-8", "replace")
    return text if text.isprintable() and len(text) <= 2000 else f"{len(raw)} bytes"
