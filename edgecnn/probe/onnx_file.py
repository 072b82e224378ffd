"""ONNX file, as far as trtexec must know it: inputs, Q/DQ, 16-bit weights. Read without the package onnx.

Field numbers: onnx.proto3 of github.com/onnx/onnx (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .errors import ProbeError, first_line
from .specs import InputSpec, layout_of

if TYPE_CHECKING:
    Field = tuple[int, int, int]
    """Field number, then the value twice for a varint, or the first and the last byte of a length-delimited field."""

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
HALF = (10, 16)
"""FLOAT16 and BFLOAT16."""
MODEL_GRAPH, GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT = 7, 1, 5, 11
NODE_OP_TYPE, TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_LOCATION = 4, 2, 8, 14


class OnnxFile(NamedTuple):
    """`inputs` that a caller feeds; `quantized` with Q/DQ nodes; `half` with 16-bit weights or inputs; `free` names the
    inputs that the file leaves a size of free."""

    path: str
    inputs: list[InputSpec]
    quantized: bool
    half: bool
    free: frozenset[str] = frozenset()


def read(path: str) -> OnnxFile:
    """Raises ProbeError cannot-load when the file is no ONNX model or keeps its weights in another file."""
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(path, data)
    except (OSError, ValueError, IndexError) as error:
        why = first_line(error) if isinstance(error, OSError) else "it is no ONNX model: " + first_line(error)
        raise ProbeError("cannot-load", "cannot read the ONNX file", why, "export the model again") from error


def _read(path: str, data: mmap.mmap) -> OnnxFile:
    graphs = [(start, end) for number, start, end in _fields(data, 0, len(data)) if number == MODEL_GRAPH]
    if not graphs:
        raise ValueError("there is no graph in it")
    given: list[tuple[str, int, tuple[int | str, ...]]] = []
    weights, quantized, half = set(), False, False
    for number, start, end in _fields(data, *graphs[-1]):
        if number == GRAPH_NODE:
            quantized = quantized or _text(data, start, end, NODE_OP_TYPE) in ("QuantizeLinear", "DequantizeLinear")
        elif number == GRAPH_INITIALIZER:
            weights.add(_text(data, start, end, TENSOR_NAME))
            half = half or _number(data, start, end, TENSOR_DATA_TYPE) in HALF
            if _number(data, start, end, TENSOR_LOCATION):
                raise ValueError("its weights are in another file, which does not travel with it")
        elif number == GRAPH_INPUT:
            given.append(_value(data, start, end))
    inputs = [
        InputSpec(name, shape, DTYPES.get(kind, f"type {kind}"), layout_of(shape))
        for name, kind, shape in given
        if name not in weights
    ]
    if not inputs:
        raise ValueError("it has no input")
    free = frozenset(spec.name for spec in inputs if not all(isinstance(size, int) for size in spec.shape))
    return OnnxFile(path, inputs, quantized, half or any(kind in HALF for _name, kind, _shape in given), free)


def _value(data: mmap.mmap, start: int, end: int) -> tuple[str, int, tuple[int | str, ...]]:
    """Name, element type and shape of a ValueInfoProto; a free size is its name, or `?`."""
    name, kind, shape = _text(data, start, end, 1), 0, []
    for tensor in _inside(data, _inside(data, [(start, end)], 2), 1):
        kind = _number(data, tensor[0], tensor[1], 1)
        for dimension in _inside(data, _inside(data, [tensor], 2), 1):
            size = _number(data, dimension[0], dimension[1], 1)
            shape.append(size or _text(data, dimension[0], dimension[1], 2) or "?")
    return name, kind, tuple(shape)


def _inside(data: mmap.mmap, spans: list[tuple[int, int]], wanted: int) -> list[tuple[int, int]]:
    return [(a, b) for start, end in spans for number, a, b in _fields(data, start, end) if number == wanted]


def _text(data: mmap.mmap, start: int, end: int, wanted: int) -> str:
    spans = _inside(data, [(start, end)], wanted)
    return data[spans[-1][0] : spans[-1][1]].decode("utf-8", "replace") if spans else ""


def _number(data: mmap.mmap, start: int, end: int, wanted: int) -> int:
    spans = _inside(data, [(start, end)], wanted)
    return spans[-1][0] if spans else 0


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[Field]:
    """The fields of one message; raises ValueError where the bytes are no protocol buffer."""
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("its bytes are no protocol buffer")
        if at + size > end:
            raise ValueError("it is cut short")
        yield number, at, at + size
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("its bytes are no protocol buffer")
