"""Lint for LiteRT: what it makes of a file: partitions for XNNPACK, and the operators left outside or in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgecnn.core.artifact import Artifact
from edgecnn.core.units import first_few
from edgecnn.formats.fusion import FloatLayer, Fusion
from edgecnn.formats.tflite import flatbuffer

DELEGATE = "DELEGATE"
COUNTED = flatbuffer.WEIGHTED | {"ADD", "SUB", "MUL", "CONCATENATION", "MEAN", "AVERAGE_POOL_2D", "BATCH_MATMUL"}
KEPT = "not quantized: kept float, or ai-edge-quantizer has no rule for it"
STRAY = "a stray conversion: a float or rescaled stretch begins or ends here"
SLOWER = "XNNPACK does not take it: it runs in a slower kernel"
SHOWN = 4
MOVES = frozenset({"QUANTIZE", "DEQUANTIZE"})
OUTSIDE = {
    "HARD_SWISH": "XNNPACK has no int8 HARD_SWISH: each one cuts the graph; ReLU6 would not, after a short fine-tune",
    "PADV2": "XNNPACK takes PAD with zeros only",
    "TRANSPOSE": "a stray change of layout",
}


def lint(artifact: Artifact) -> Fusion:
    """Load `artifact` in LiteRT with XNNPACK and count its operators; `DELEGATE` counts the partitions.

    In an INT8 file `float_layers` are operators that compute in float or run outside the delegate. Raises MissingError
    without the extra `tflite` and InputError when LiteRT does not load the file.
    """
    graph = flatbuffer.Graph.read(artifact.path)
    counts = Counter(graph.op(operator) for operator in graph.operators)
    loaded = flatbuffer.interpreter(artifact.path, delegate=True)
    plan = _outside(loaded)
    partitions, outside = plan if plan is not None else (0, set())
    if plan is not None:
        counts[DELEGATE] = partitions
    counted = [operator for operator in graph.operators if graph.op(operator) in COUNTED]
    integer = sum(_is_integer(graph, operator) for operator in counted)
    layers = _float_layers(graph, outside) if artifact.precision == "int8" else ()
    return Fusion(
        "litert",
        "checked",
        dict(counts),
        integer=integer,
        floating=len(counted) - integer,
        float_layers=layers,
        warnings=(*_left_outside(graph, outside, partitions), *_left_float(layers)),
        note="" if plan is not None else "this version of ai-edge-litert does not tell how XNNPACK divides the graph",
    )


def _outside(loaded: Any) -> tuple[int, set[int]] | None:
    """(partitions, indices of operators that XNNPACK left alone), or None where the runtime does not tell.

    The runtime lists every operator beside the delegates' nodes. Walking back from the outputs, a delegate stands
    before the operators it replaced: what the walk still meets is what runs.
    """
    try:
        details = loaded._get_ops_details()
        nodes = [
            (str(node["op_name"]), int(node["index"]), [*map(int, node["inputs"])], [*map(int, node["outputs"])])
            for node in details
        ]
    except (AttributeError, KeyError, TypeError):  # a private method: the only one that tells
        return None
    producer: dict[int, tuple[str, int, list[int]]] = {}
    for name, index, inputs, outputs in sorted(nodes, key=lambda node: node[0] == DELEGATE):
        producer.update(dict.fromkeys(outputs, (name, index, inputs)))
    waiting = [int(detail["index"]) for detail in loaded.get_output_details()]
    met: dict[int, str] = {}
    while waiting:
        found = producer.get(waiting.pop())
        if found is not None and found[1] not in met:
            met[found[1]] = found[0]
            waiting += found[2]
    partitions = sum(name == DELEGATE for name in met.values())
    return partitions, {index for index, name in met.items() if name != DELEGATE}


def _is_integer(graph: flatbuffer.Graph, operator: Any) -> bool:
    return _type(graph, operator.outputs[0]) == flatbuffer.INT8 and _type(graph, operator.inputs[0]) == flatbuffer.INT8


def _type(graph: flatbuffer.Graph, index: int) -> int:
    return int(graph.subgraph.tensors[index].type)


def _float_layers(graph: flatbuffer.Graph, outside: set[int]) -> tuple[FloatLayer, ...]:
    ends = {*map(int, graph.subgraph.inputs), *map(int, graph.subgraph.outputs)}
    layers = []
    for index, operator in enumerate(graph.operators):
        op, touched = graph.op(operator), {int(operator.inputs[0]), int(operator.outputs[0])}
        if op in MOVES:
            why = "" if touched & ends else STRAY
        elif _type(graph, operator.outputs[0]) == flatbuffer.FLOAT32:
            why = KEPT
        else:
            why = OUTSIDE.get(op, SLOWER) if index in outside else ""
        if why:
            layers.append(FloatLayer(graph.layer(operator), op, why))
    return tuple(layers)


def _left_outside(graph: flatbuffer.Graph, outside: set[int], partitions: int) -> Iterator[str]:
    """Which operators XNNPACK left alone, and why."""
    named: dict[str, list[str]] = {}
    for index, operator in enumerate(graph.operators):
        if index in outside:
            named.setdefault(graph.op(operator), []).append(graph.layer(operator))
    for op, names in sorted(named.items(), key=lambda item: -len(item[1])):
        yield f"{len(names)} x {op} runs outside XNNPACK ({OUTSIDE.get(op, SLOWER)}): {first_few(names, SHOWN)}"
    if outside:
        yield f"{len(outside)} of {len(graph.operators)} operators run outside XNNPACK, in {partitions} partitions"


def _left_float(layers: tuple[FloatLayer, ...]) -> Iterator[str]:
    """Which layers of an INT8 file compute in float or convert in the middle, and why."""
    for why, verb in ((KEPT, "stays in float"), (STRAY, "in the middle")):
        named: dict[str, list[str]] = {}
        for layer in layers:
            if layer.why == why:
                named.setdefault(layer.op, []).append(layer.name)
        yield from (f"{len(names)} x {op} {verb} ({why}): {first_few(names, SHOWN)}" for op, names in named.items())
    heavy = sum(layer.op in flatbuffer.WEIGHTED and layer.why == KEPT for layer in layers)
    if heavy:
        yield f"{heavy} layers with weights run in float: this file gains less than INT8 can give"
