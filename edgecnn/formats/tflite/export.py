"""torch → TFLite: litert-torch's converter with channels last, readable names, and padding that XNNPACK takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Model
from edgecnn.formats.inspect import described
from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.affine import affines_to_convs
from edgecnn.formats.tflite.conversion import converted
from edgecnn.tasks.task import DEFAULT

if TYPE_CHECKING:
    from torch import nn

INPUT, OUTPUT = "input", "logits"
RELU_CODES = (1, 3)
"""`ActivationFunctionType` RELU and RELU6: outputs are never negative."""


def export(model: Model, out: Path, *, preprocessing: Preprocessing, task: str = DEFAULT) -> Artifact:
    """Write `model` as float TFLite: input `input` (1, H, W, C) float32, output `logits` (1, classes).

    Preprocessing and task travel in the file's metadata under `edgecnn`. Raises MissingError without the extra
    `tflite`, and StepError: cannot-convert, naming the operator, when the converter cannot lower it; converter-crashed,
    out-of-memory and cannot-write when it ends without a file.
    """
    module = model.module().eval()
    graph = flatbuffer.Graph(converted(module, model))
    if len(graph.subgraph.outputs) != 1 or len(graph.subgraph.inputs) != 1:
        raise StepError(
            "not-a-classifier",
            f"{model.name} has {len(graph.subgraph.inputs)} inputs and {len(graph.subgraph.outputs)} outputs",
            hint="wrap it in a module that takes one image tensor and returns one tensor of logits",
        )
    pad_with_zeros(graph)
    affines_to_convs(graph)
    _name_ends(graph)
    _rename(graph, _namer(graph, module))
    graph.set_metadata(described(model, preprocessing, task))
    graph.write(out)
    return flatbuffer.describe(out, precision="fp32", history=("export",))


def pad_with_zeros(graph: flatbuffer.Graph) -> int:
    """Pad with zero where the converter pads non-negative values with -inf before max pooling; returns how many.

    The maximum is the same, and XNNPACK takes PAD but not PADV2, which would cut every ResNet's stem in two.
    """
    produced = {int(index): operator for operator in graph.operators for index in operator.outputs}
    count = 0
    for operator in graph.operators:
        source = produced.get(int(operator.inputs[0])) if len(operator.inputs) else None
        if graph.op(operator) != "PADV2" or source is None or not _not_negative(graph, source):
            continue
        users = [user for user in graph.operators if operator.outputs[0] in user.inputs]
        if np.isneginf(graph.constant(operator.inputs[2])).all() and {graph.op(user) for user in users} == {
            "MAX_POOL_2D"
        }:
            operator.inputs = np.array(operator.inputs[:2], dtype=np.int32)
            operator.opcodeIndex = graph.opcode("PAD")
            operator.builtinOptionsType, operator.builtinOptions = 0, None
            count += 1
    return count


def _not_negative(graph: flatbuffer.Graph, operator: Any) -> bool:
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    return fused in RELU_CODES or graph.op(operator) in ("RELU", "RELU6", "LOGISTIC")


def _name_ends(graph: flatbuffer.Graph) -> None:
    """Name the input and the output in the tensors and in the signature, which runtimes offer separately."""
    for index, name in ((graph.subgraph.inputs[0], INPUT), (graph.subgraph.outputs[0], OUTPUT)):
        graph.subgraph.tensors[index].name = name.encode()
    for signature in graph.model.signatureDefs or []:
        signature.inputs[0].name, signature.outputs[0].name = INPUT.encode(), OUTPUT.encode()


def _rename(graph: flatbuffer.Graph, name_of: Callable[[Any], str]) -> None:
    """Name computed tensors by `name_of(operator)`, constants after the operator that uses them first, all unique."""
    done = {*map(int, graph.subgraph.inputs), *map(int, graph.subgraph.outputs)}
    taken = {graph.name(index) for index in done}

    def give(index: int, wanted: str) -> None:
        if index in done or index == -1:
            return
        name, count = wanted, 1
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        done.add(index)
        taken.add(name)
        graph.subgraph.tensors[index].name = name.encode()

    named = [(operator, name_of(operator)) for operator in graph.operators]
    for operator, wanted in named:
        parts = ("", ".weight", ".bias") if graph.op(operator) in flatbuffer.WEIGHTED else ()
        for index in operator.outputs:
            give(int(index), wanted)
        for place, index in enumerate(operator.inputs):
            if index != -1 and graph.is_constant(index):
                give(int(index), wanted + (parts[place] if place < len(parts) else f".operand{place}"))


def _namer(graph: flatbuffer.Graph, module: nn.Module) -> Callable[[Any], str]:
    """From operators to torch's layer names: the converter joins the classes and attributes on the way to each layer.

    `a.ResNet_wrapped/b.Sequential_layer1/c.Block_0/d.Conv2d_conv1;1` is `layer1.0.conv1`; a fused operator's name lists
    several such paths between `;`.
    """
    known = _paths(module)

    def name_of(operator: Any) -> str:
        op = graph.op(operator)
        constants = [index for index in operator.inputs if index != -1 and graph.is_constant(index)]
        told = ";".join(graph.name(index) for index in (*operator.outputs, *constants))
        paths = [part.partition("/")[2] for part in told.split(";") if "/" in part]
        found = [known[path] for path in paths if path in known]
        heavy = [name for name, weighted in found if weighted]
        if op in flatbuffer.WEIGHTED and heavy:
            return heavy[0]
        place = found[0][0] if found else ""
        return f"{place}.{op.lower()}" if place else op.lower()

    return name_of


def _paths(module: nn.Module) -> dict[str, tuple[str, bool]]:
    """(layer name, whether it has weights of two dimensions or more) by the converter's path below its own wrapper.

    Lists and dictionaries of modules are not called, so they are not on the path; a path that two layers share is left
    out.
    """
    from torch import nn

    def segment(part: nn.Module, attribute: str) -> str:
        return f"{type(part).__module__}.{type(part).__qualname__}_{attribute}"

    places = {"": segment(module, "wrapped")}
    for name, part in module.named_modules():
        if name:
            parent, _, attribute = name.rpartition(".")
            called = not isinstance(part, (nn.ModuleList, nn.ModuleDict))
            places[name] = f"{places[parent]}/{segment(part, attribute)}" if called else places[parent]
    weighted = {name: getattr(getattr(part, "weight", None), "ndim", 0) >= 2 for name, part in module.named_modules()}
    shared = Counter(places.values())
    return {path: (name, weighted[name]) for name, path in places.items() if name == "" or shared[path] == 1}
