"""Lint for ONNX Runtime: what its optimiser makes of a file: integer kernels, and what it left in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import onnxruntime

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.temporary import temporary_folder
from edgecnn.core.units import first_few
from edgecnn.formats.fusion import FloatLayer, Fusion

INTEGER = frozenset(
    {
        "QLinearConv",
        "QGemm",
        "QLinearMatMul",
        "MatMulIntegerToFloat",
        "QLinearAdd",
        "QLinearMul",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearAveragePool",
        "QLinearLeakyRelu",
        "QLinearSigmoid",
    }
)
GIVES_FLOAT = frozenset({"MatMulIntegerToFloat"})
FLOAT_COMPUTE = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose"})
MOVES = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Gather",
        "Split",
    }
)
WHY = {
    "HardSwish": "no integer kernel for HardSwish in ONNX Runtime",
    "HardSigmoid": "no integer kernel for HardSigmoid in ONNX Runtime",
    "ReduceMean": "no integer kernel for ReduceMean; a mean over both spatial axes would be rewritten",
    "BatchNormalization": "a batch norm that no convolution precedes cannot be folded",
    "Relu": "a ReLU that no integer operator precedes is not absorbed",
    "Clip": "the quantized range is wider than the clip, or no integer operator precedes it",
    "ConvTranspose": "no integer kernel for ConvTranspose in ONNX Runtime",
}


def lint(artifact: Artifact) -> Fusion:
    """Load `artifact` in ONNX Runtime (extended optimisation, this machine's instruction set) and count its operators.

    For a file that is not INT8 only the counts are given. Raises StepError when the runtime does not load the file.
    """
    graph = optimised(artifact.path)
    counts = Counter(node.op_type for node in graph)
    if artifact.precision != "int8":
        return Fusion("onnxruntime", "checked", dict(counts), floating=sum(counts[op] for op in FLOAT_COMPUTE))
    stayed = _float_nodes(graph)
    made_by = {value.name: node.name for node in ir.load(artifact.path).graph for value in node.outputs}
    layers = tuple(FloatLayer(_name(node, made_by), _op(node), _why(node)) for node in stayed if not _is_inner(node))
    heavy = sum(counts[op] for op in FLOAT_COMPUTE)
    return Fusion(
        "onnxruntime",
        "checked",
        dict(counts),
        integer=sum(counts[op] for op in INTEGER),
        floating=len(layers),
        float_layers=layers,
        warnings=_warnings(layers, heavy),
    )


def optimised(path: Path) -> ir.Graph:
    """The graph as ONNX Runtime runs it, before the layout transformation that belongs to one machine."""
    with temporary_folder("onnx") as folder:
        saved = folder / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(saved)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own pybind exceptions
            raise StepError(
                "cannot-load", f"ONNX Runtime does not load {path.name}", why=str(error).splitlines()[0]
            ) from error
        return ir.load(saved).graph


def _float_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Nodes that compute on float values. The runtime's own operators carry no types, so types are followed through."""
    integer: set[ir.Value] = set()
    stayed = []
    for node in graph:
        first = node.inputs[0] if node.inputs else None
        if node.op_type == "QuantizeLinear" or node.op_type in INTEGER - GIVES_FLOAT:
            integer.update(node.outputs)
        elif node.op_type in INTEGER | {"DequantizeLinear"}:
            continue
        elif first is not None and first in integer:
            integer.update(node.outputs)
        elif node.op_type not in MOVES and _computes(node):
            stayed.append(node)
    return stayed


def _computes(node: ir.Node) -> bool:
    """Whether an operator works on activations, not on shapes, and is not a quantizer's fence."""
    is_fence = node.op_type == "Sum" and len(node.inputs) == 1
    return not is_fence and all(value.dtype in (ir.DataType.FLOAT, None) for value in node.outputs)


def _is_inner(node: ir.Node) -> bool:
    """The HardSigmoid inside a HardSwish, which the runtime expands before it optimises."""
    return node.op_type == "HardSigmoid" and str(node.outputs[0].name).startswith("_inlfunc_HardSwish")


def _op(node: ir.Node) -> str:
    producers = [value.producer() for value in node.inputs if value is not None]
    expanded = any(producer is not None and _is_inner(producer) for producer in producers)
    return "HardSwish" if node.op_type == "Mul" and expanded else node.op_type


def _name(node: ir.Node, made_by: Mapping[str | None, str | None]) -> str:
    """The layer's name in the file; what the runtime expanded has none of its own."""
    out = node.outputs[0].name
    return str(node.name or made_by.get(out) or out)


def _why(node: ir.Node) -> str:
    if _op(node) in WHY:
        return WHY[_op(node)]
    if node.op_type in FLOAT_COMPUTE:
        return "its input or output has no Q/DQ pair the runtime can fuse"
    return f"no integer kernel for {node.op_type} here"


def _warnings(layers: tuple[FloatLayer, ...], heavy: int) -> tuple[str, ...]:
    if not layers:
        return ()
    by_op: dict[str, list[str]] = {}
    for layer in layers:
        by_op.setdefault(layer.op, []).append(layer.name)
    whys = {layer.op: layer.why for layer in layers}
    lines = []
    for op, names in sorted(by_op.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(names)} x {op} stays in float ({whys[op]}): {first_few(names, 4)}")
    if heavy:
        lines.append(f"{heavy} layers with weights run in float: this file gains less than INT8 can give")
    return tuple(lines)
