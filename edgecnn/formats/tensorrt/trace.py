"""Trace of TensorRT: an engine's layers, as trtexec prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edgecnn.formats.cost import PRECISIONS, Cost, Operator, Tensor, TimedRow, kind_of, times, total

FORMATS = (
    ("int8", "int8"),
    ("fp8", "float8"),
    ("bf16", "bfloat16"),
    ("bfloat16", "bfloat16"),
    ("fp16", "float16"),
    ("half", "float16"),
    ("fp32", "float32"),
    ("float", "float32"),
    ("int4", "int4"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("bool", "bool"),
    ("uint8", "uint8"),
)
"""Words in `Format/Datatype` such as "Thirty-two wide channel vectorized row major Int8 format"."""
MOVES = ("reformat", "noop", "shuffle", "cast", "quantize", "dequantize", "identity", "signal", "wait")
"""LayerType of what computes nothing, in lower case."""
COPIES = ("Reformatting CopyNode", "copied_squeeze_after_", "squeeze_after_", "reshape_before_", "reshape_after_")
"""Beginnings of the names of what TensorRT puts in between; `--exportLayerInfo` does not list all of these."""


def describe(row: TimedRow) -> Operator:
    """One layer. Rows have `name`, `op` (LayerType), `inputs`, `outputs`, `weights` (count) and `details`."""
    inputs = [Tensor(dtype_of(text), shape) for text, shape in row["inputs"]]
    outputs = [Tensor(dtype_of(text), shape) for text, shape in row["outputs"]]
    name, op, origin = row["name"], row["op"], row["details"].get("Origin", "")
    moves = op.lower() in MOVES or name.startswith(COPIES) or (origin == "QDQ" and not row["weights"])
    precision = PRECISIONS.get(inputs[0].dtype, "other") if inputs else "other"
    output = outputs[0] if outputs else Tensor("?", None)
    counted = _macs(row, inputs, output, moves=moves)
    cost = Cost(
        macs=counted,
        operations=_operations(counted, output, moves=moves),
        weight_bytes=_weight_bytes(row, inputs),
        activation_bytes=total([tensor.nbytes for tensor in (*inputs, *outputs)]) if outputs else None,
    )
    return Operator(name, op or "?", kind_of(precision, moves=moves), precision, output.shape, cost)


def nodes(rows: Sequence[TimedRow], graph: bytes, path: Path) -> list[Operator]:
    """What each timed row is: trtexec tells it beside the time."""
    return [describe(row) for row in rows]


def dtype_of(text: str) -> str:
    """numpy's name of the type in a description of a tensor's format."""
    lower = text.lower()
    return next((dtype for word, dtype in FORMATS if word in lower), "?")


def _macs(row: TimedRow, inputs: Sequence[Tensor], output: Tensor, *, moves: bool) -> int | None:
    """A convolution's weights are used once for each place of its output; a product sums over its last axis.

    None for what TensorRT has melted together and does not tell apart.
    """
    kind, op = row["details"].get("ParameterType", "").lower(), row["op"].lower()
    if moves:
        return 0
    if kind in ("convolution", "deconvolution") and row["weights"]:
        place = (inputs[0] if inputs else output) if kind == "deconvolution" else output
        if place.shape is None or len(place.shape) < 2:
            return None
        return int(row["weights"]) * place.shape[0] * math.prod(place.shape[2:])
    if kind == "fullyconnected" and row["weights"]:
        return times(row["weights"], output.shape[0] if output.shape else None)
    if "matrixmultiply" in op or "gemm" in op or kind == "matrixmultiply":
        return times(output.elements, inputs[0].shape[-1] if inputs and inputs[0].shape else None)
    known = ("pooling", "elementwise", "pointwise", "pointwisev2", "softmax", "reduce", "activation", "unary", "scale")
    return 0 if kind in known or op in known else None


def _operations(counted: int | None, output: Tensor, *, moves: bool) -> int | None:
    if counted is None:
        return None
    return 2 * counted if counted else 0 if moves else output.elements


def _weight_bytes(row: TimedRow, inputs: Sequence[Tensor]) -> int | None:
    return Tensor(inputs[0].dtype, (row["weights"],)).nbytes if inputs and row["weights"] else 0
