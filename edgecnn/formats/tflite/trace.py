"""Trace of LiteRT: from the operators that it and XNNPACK timed back to those of the user's file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecnn.formats.cost import ComputePrecision, Cost, Operator, Tensor, TimedRow, kind_of, times
from edgecnn.formats.tflite.cost import TFLiteGraph

RUNS = {
    "convolution": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "fullyconnected": ("FULLY_CONNECTED", "CONV_2D"),
    "deconvolution": ("TRANSPOSE_CONV",),
    "batchmatrixmultiply": ("BATCH_MATMUL", "FULLY_CONNECTED"),
    "multiply": ("MUL",),
    "subtract": ("SUB",),
    "divide": ("DIV",),
    "globalaveragepooling": ("MEAN", "AVERAGE_POOL_2D"),
    "averagepooling": ("AVERAGE_POOL_2D", "MEAN"),
    "maxpooling": ("MAX_POOL_2D",),
    "mean": ("MEAN", "AVERAGE_POOL_2D"),
    "sum": ("SUM", "MEAN"),
    "clamp": ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MINIMUM", "MAXIMUM"),
    "sigmoid": ("LOGISTIC",),
    "leakyrelu": ("LEAKY_RELU", "PRELU"),
    "constantpad": ("PAD", "PADV2"),
    "staticconstantpad": ("PAD", "PADV2"),
    "convert": ("QUANTIZE", "DEQUANTIZE", "CAST"),
    "copy": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "SPLIT"),
    "staticreshape": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "statictranspose": ("TRANSPOSE",),
    "concatenate": ("CONCATENATION",),
    "resizebilinear": ("RESIZE_BILINEAR",),
    "staticresizebilinear": ("RESIZE_BILINEAR",),
    "slice": ("SLICE", "STRIDED_SLICE"),
    "staticslice": ("SLICE", "STRIDED_SLICE"),
    "evensplit": ("SPLIT",),
    "lut": ("LOGISTIC", "TANH", "ELU", "HARD_SWISH"),
}
"""TFLite operators that an XNNPACK operator may run; others have XNNPACK's name in capitals."""
SILENT = frozenset({"PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "RELU", "RELU6", "QUANTIZE", "DEQUANTIZE"})
"""What XNNPACK often runs inside the next operator, or not at all."""
MOVES = frozenset({"copy", "convert", "staticreshape", "statictranspose", "transpose"})
TYPES: tuple[tuple[str, ComputePrecision], ...] = (("Q", "int8"), ("F16", "fp16"), ("F32", "fp32"))

_DTYPES = {"int8": "int8", "fp16": "float16", "fp32": "float32"}


def nodes(rows: Sequence[TimedRow], graph: bytes, path: Path) -> list[Operator]:
    """What each timed row is; LiteRT gives no graph of its own."""
    return join(rows, TFLiteGraph.read(path))


def join(rows: Sequence[TimedRow], graph: TFLiteGraph) -> list[Operator]:
    """For each row the operator of the file that it times, in the order of execution.

    Rows have `op`, `delegated` and `node`: an operator outside the delegate is known by its number in the file. Those
    inside have only XNNPACK's name and their order; the file's operators are laid alongside, so that what XNNPACK
    merged into another operator is that operator's, and what it added has no counterpart.
    """
    outside = {row["node"] for row in rows if not row["delegated"] and 0 <= row["node"] < len(graph.nodes)}
    inside = [index for index in graph.order(outside) if index not in outside]
    events = [row for row in rows if row["delegated"]]
    pairs = iter(_alongside([_word(row["op"]) for row in events], [graph.nodes[index].op for index in inside]))
    nodes, merged = list[Operator](), list[str]()
    for row in rows:
        if row["delegated"]:
            place, skipped = next(pairs)
            merged += [graph.nodes[inside[index]].layer for index in skipped]
            node = None if place is None else graph.nodes[inside[place]]
        else:
            node = graph.nodes[row["node"]] if row["node"] in outside else None
        nodes.append(_added(row, nodes) if node is None else _ran(node, row, tuple(merged)))
        merged = [] if node is not None else merged
    return nodes


def _ran(node: Operator, row: TimedRow, merged: tuple[str, ...]) -> Operator:
    """The file's operator with the type that XNNPACK says it computes in: float may run as FP16."""
    precision = _precision(row["op"]) if row["delegated"] else node.precision
    if precision in (None, node.precision) or node.kind == "conversion":
        return replace(node, merged=merged)
    return replace(node, precision=precision, kind=kind_of(precision or "other", moves=False), merged=merged)


def _added(row: TimedRow, before: Sequence[Operator]) -> Operator:
    """An operator that the file does not have: the activation of the one before it, or a move of its own."""
    precision, last = _precision(row["op"]), before[-1] if before else None
    if _word(row["op"]) in MOVES or last is None:
        kind = kind_of(precision or "other", moves=_word(row["op"]) in MOVES)
        return Operator(last.layer if last else row["op"], row["op"], kind, precision or "other", None, Cost(macs=0))
    precision = precision or last.precision
    output = Tensor(_DTYPES.get(precision, "?"), last.shape)
    twice = times(2, output.nbytes)
    cost = Cost(macs=0, operations=output.elements, weight_bytes=0, activation_bytes=twice)
    return Operator(last.layer, row["op"], kind_of(precision, moves=False), precision, last.shape, cost)


def _word(op: str) -> str:
    """`Fully Connected (NC, F32) GEMM` as `fullyconnected`."""
    return re.sub(r"[^a-z0-9]", "", op.partition("(")[0].lower())


def _precision(op: str) -> ComputePrecision | None:
    """The first type in the brackets: (NC, QS8, QC8W) is int8."""
    inside = re.search(r"\(([^)]*)\)", op)
    for word in inside.group(1).replace(" ", "").split(",") if inside else ():
        for prefix, precision in TYPES:
            if word.startswith(prefix):
                return precision
    return None


def _alike(word: str, op: str) -> bool:
    return op in RUNS.get(word, ()) or word == op.replace("_", "").lower()


def _alongside(words: Sequence[str], ops: Sequence[str]) -> list[tuple[int | None, list[int]]]:
    """For each word the place of its operator, or None, and the operators passed over just before it.

    The alignment with the most pairs; to pass over an operator that XNNPACK can do without costs nothing, to pass over
    another one or a word costs a little.
    """
    best = [[0.0] * (len(ops) + 1) for _ in range(len(words) + 1)]
    for i in range(len(words) - 1, -1, -1):
        for j in range(len(ops), -1, -1):
            best[i][j] = max(value for value, _step in _steps(words, ops, best, (i, j)))
    found: list[tuple[int | None, list[int]]] = []
    skipped: list[int] = []
    i = j = 0
    while i < len(words):
        _value, step = max(_steps(words, ops, best, (i, j)), key=lambda item: item[0])
        if step == "pair":
            found.append((j, skipped))
            skipped, i, j = [], i + 1, j + 1
        elif step == "word":
            found.append((None, []))
            i += 1
        else:
            skipped.append(j)
            j += 1
    return found


def _steps(
    words: Sequence[str], ops: Sequence[str], best: list[list[float]], at: tuple[int, int]
) -> list[tuple[float, str]]:
    """What may come next at a place of the table, and what it is worth with all that follows."""
    i, j = at
    steps = [(best[i + 1][j] - (0.0 if words[i] in MOVES else 1.0), "word")]
    if j < len(ops):
        steps.append((best[i][j + 1] - (0.0 if ops[j] in SILENT else 1.0), "op"))
        if _alike(words[i], ops[j]):
            steps.append((best[i + 1][j + 1] + 2.0, "pair"))
    return steps
