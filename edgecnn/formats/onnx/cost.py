"""Cost of the operators of an ONNX file: the user's, or the one a runtime made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import shape_inference

from edgecnn.core.third_party import parsing
from edgecnn.formats.cost import (
    LARGEST_SIDE,
    MOST_AXES,
    PRECISIONS,
    ComputePrecision,
    Cost,
    Operator,
    OperatorKind,
    Tensor,
    kind_of,
    total,
)
from edgecnn.formats.onnx import cost_ops

DTYPES = {
    number: {"float": "float32", "double": "float64"}.get(name.lower(), name.lower())
    for name, number in onnx.TensorProto.DataType.items()
}
UNKNOWN = Tensor("?", None)


class OnnxGraph:
    """An ONNX graph: its nodes, what is known of its tensors, and who makes them.

    `shapes` is what a run told of the tensors; it has the last word.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Tensor] | None = None) -> None:
        graph = model.graph
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        self.weights = {item.name: _of_initializer(item) for item in graph.initializer}
        self.weights |= {node.output[0]: _of_constant(node) for node in graph.node if node.op_type == "Constant"}
        self._tensors = {
            value.name: _of_value(value) for values in (graph.input, graph.value_info, graph.output) for value in values
        }
        self._tensors |= self.weights
        self._tensors |= shapes or {}
        self.maker = {name: node for node in self.nodes for name in node.output if name}

    @classmethod
    def read(cls, path: Path) -> OnnxGraph:
        """The file with its shapes inferred for batch 1. Raises InputError when it is not ONNX."""
        with parsing(path, "ONNX file"):
            model = onnx.load(path, load_external_data=False)
        # Where inference fails, what the file says of its shapes is what there is.
        with contextlib.suppress(shape_inference.InferenceError, ValueError, RuntimeError):
            model = shape_inference.infer_shapes(model, data_prop=True)
        return cls(model)

    @classmethod
    def parse(cls, raw: bytes, shapes: Mapping[str, Tensor]) -> OnnxGraph | None:
        """The graph in `raw`, which a device sent; None when it is none. Weights in other files are not looked at."""
        model = onnx.ModelProto()
        try:
            model.ParseFromString(raw)
        except Exception:  # protobuf documents few of its errors, and a board sends what it likes
            return None
        return cls(model, shapes) if model.graph.node else None

    def tensor(self, name: str) -> Tensor:
        return self._tensors.get(name, UNKNOWN)

    def inputs(self, node: onnx.NodeProto) -> list[Tensor]:
        return [self.tensor(name) for name in node.input]

    def described(self, node: onnx.NodeProto) -> Operator:
        """What a node is and costs."""
        op, inputs = node.op_type, self.inputs(node)
        output = self.tensor(node.output[0]) if node.output else UNKNOWN
        attributes = _attributes(node)
        precision, kind = nature(op, inputs)
        weights = [self.weights[name] for name in node.input if name in self.weights]
        moved = [self.tensor(name) for name in {*node.input} - {*self.weights, ""}]
        moved += [self.tensor(name) for name in node.output if name]
        cost = Cost(
            macs=cost_ops.macs(op, inputs, output, attributes) if inputs else 0,
            operations=cost_ops.operations(op, inputs, output, attributes) if inputs else 0,
            weight_bytes=total([tensor.nbytes for tensor in weights]),
            activation_bytes=total([tensor.nbytes for tensor in moved]),
        )
        return Operator(node.name or node.output[0], op, kind, precision, output.shape, cost)

    def described_all(self) -> list[Operator]:
        return [self.described(node) for node in self.nodes]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Those of whole numbers, within reason."""
    found: dict[str, Any] = {}
    for item in node.attribute:
        if item.type == onnx.AttributeProto.INT:
            found[item.name] = item.i
        elif item.type == onnx.AttributeProto.INTS and len(item.ints) <= MOST_AXES:
            found[item.name] = [min(max(side, 0), LARGEST_SIDE) for side in item.ints]
    return found


def nature(op: str, inputs: list[Tensor]) -> tuple[ComputePrecision, OperatorKind]:
    """By the type of the first input; integer kernels that quantize by themselves have a float one.

    A sum of one value is a copy: such a one fences a layer in.
    """
    dtype = inputs[0].dtype if inputs else "?"
    precision = "int8" if op in cost_ops.INTEGER else PRECISIONS.get(dtype, "other")
    return precision, kind_of(precision, moves=op in cost_ops.MOVES or (op == "Sum" and len(inputs) == 1))


def _of_initializer(item: Any) -> Tensor:
    return Tensor(DTYPES.get(item.data_type, "?"), tuple(item.dims))


def _of_constant(node: onnx.NodeProto) -> Tensor:
    value = next((item.t for item in node.attribute if item.name == "value"), None)
    return UNKNOWN if value is None else _of_initializer(value)


def _of_value(value: onnx.ValueInfoProto) -> Tensor:
    """A free size counts as 1: one image."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return Tensor(DTYPES.get(kind.elem_type, "?"), None)
    shape = tuple(side.dim_value if side.HasField("dim_value") else 1 for side in kind.shape.dim)
    return Tensor(DTYPES.get(kind.elem_type, "?"), shape)
