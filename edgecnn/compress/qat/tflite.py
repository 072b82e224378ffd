"""TFLite graphs for QAT: the integer file of ai-edge-quantizer, as a torch module over the float file's weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgecnn.compress.qat.fake_quantize import WeightGrid
from edgecnn.compress.qat.network import GraphNode, Network, Values
from edgecnn.compress.qat.operands import fake_quantize
from edgecnn.compress.qat.prepared import PreparedNetwork, require_same
from edgecnn.compress.qat.tflite_operators import MOVES, OPERATORS, TABLED, tabled
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.stage import Context
from edgecnn.core.temporary import temporary_folder
from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.quantize import (
    BIAS_LIMIT,
    CHANNEL_AXIS,
    calibrate,
    integer_file,
    revive_dead_channels,
    runner,
)
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import Grid

LIMIT = 127
LAYOUT = "NHWC of "


def prepare(source: Artifact, *, options: QuantizeOptions, context: Context) -> PreparedNetwork:
    """The integer file that `quantize` would write of the float file `source`, open for training.

    Raises InputError when `keep_float` names no layer, MissingError without the extra `tflite`, StepError naming an
    operator that is unknown here or when a tensor is not finite.
    """
    graph = flatbuffer.Graph.read(source.path)
    plain = floating(graph)
    require_same(plain, runner(source.path, graph), context.data.calibration)
    ranges = calibrate(source, graph, options=options, context=context)
    raised = flatbuffer.Graph.read(source.path)
    revive_dead_channels(raised, ranges)
    network = quantized(graph, integer_file(raised, ranges, options=options))
    return PreparedNetwork(network, ranges, partial(save, graph))


def save(graph: flatbuffer.Graph, weights: Mapping[str, Tensor], out: Path) -> None:
    """Write `graph` with `weights` in place of its constants of those names."""
    indices = {graph.name(index): index for index in range(len(graph.tensors)) if graph.is_constant(index)}
    for name, values in weights.items():
        graph.set_constant(indices[name], values.numpy().astype(np.float32))
    graph.write(out)


def quantized(float_file: flatbuffer.Graph, written: flatbuffer.Graph) -> Network:
    """The integer file `written` (as the quantizer left it) with the weights of `float_file`, open for training.

    Every tensor that is int8 there is rounded to its grid. Raises StepError naming an operator that is unknown here.
    """
    return _Reader(float_file, written).network()


def floating(graph: flatbuffer.Graph) -> Network:
    """The float file as it is. Raises StepError naming an operator that is unknown here."""
    return _Reader(graph, graph).network()


class LookupTable(NamedTuple):
    """The constant that holds an operator's results, and the grids of what it reads and makes."""

    name: str
    source: Grid
    target: Grid

    def attributes(self, op: str) -> dict[str, Any]:
        return {"operator": OPERATORS[op], "source": self.source, "grid": self.target}


def answers(graph: flatbuffer.Graph, operator: Any) -> np.ndarray:
    """float32 (256,): the codes that LiteRT gives for the codes -128 to 127, in the kernel it takes for them."""
    with temporary_folder("tflite") as folder:
        path = folder / "single.tflite"
        path.write_bytes(graph.alone(operator, shape=(1, 1, 1, 256)))
        loaded = flatbuffer.interpreter(path, delegate=True)
        codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 1, 256)
        loaded.set_tensor(loaded.get_input_details()[0]["index"], codes)
        loaded.invoke()
        results: np.ndarray = loaded.get_tensor(loaded.get_output_details()[0]["index"]).reshape(-1).astype(np.float32)
    return results


class _Reader:
    """From the operators of one file and the weights of another of the same layers to nodes and values."""

    def __init__(self, float_file: flatbuffer.Graph, written: flatbuffer.Graph) -> None:
        self._float, self._written = float_file, written
        self._layers = {float_file.layer(operator): operator for operator in float_file.operators}
        self._trained: dict[str, Tensor] = {}
        self._constants: dict[str, Tensor] = {}
        self._integers: dict[str, Tensor] = {}

    def network(self) -> Network:
        graph = self._written
        if len(graph.subgraph.inputs) != 1 or len(graph.subgraph.outputs) != 1:
            raise StepError("not-a-classifier", "the TFLite file does not have one input and one output")
        entry, end = graph.name(graph.subgraph.inputs[0]), graph.name(graph.subgraph.outputs[0])
        nodes = [GraphNode("input", _to_nhwc, (LAYOUT + entry,), (entry,))]
        for operator in graph.operators:
            nodes += self._nodes(operator)
        values = Values(self._trained, self._constants, self._integers)
        return Network(nodes, values, input=LAYOUT + entry, output=end)

    def _nodes(self, operator: Any) -> list[GraphNode]:
        graph, op, layer = self._written, self._written.op(operator), self._written.layer(operator)
        if op not in OPERATORS:
            raise StepError(
                "unknown-operator",
                f"quantization-aware training does not know the operator {op} of {layer}",
                why="what is trained has to be what is written, and this operator cannot be computed in torch here",
                hint="leave `qat` out of the recipe for this network, or replace the operator",
            )
        attributes = dict(vars(operator.builtinOptions)) if operator.builtinOptions else {}
        attributes["shape"] = tuple(int(size) for size in graph.subgraph.tensors[operator.outputs[0]].shape)
        outputs = tuple(graph.name(index) for index in operator.outputs)
        inputs = [self._input(index) for index in operator.inputs]
        if op in TABLED and (table := self._table(operator)) is not None:
            return [GraphNode(layer, tabled, (inputs[0], table.name), outputs, {**attributes, **table.attributes(op)})]
        grid = None
        if op in CHANNEL_AXIS:
            inputs[1:], grid = self._weights(operator, CHANNEL_AXIS[op])
        nodes = [GraphNode(layer, OPERATORS[op], tuple(inputs), outputs, attributes, grid)]
        grids = {_grid(graph, index) for index in operator.inputs if index != -1} - {None}
        for index, name in zip(operator.outputs, outputs, strict=True):
            grid_here = _grid(graph, index)
            if grid_here is not None and not (op in MOVES and grids == {grid_here}):
                nodes.append(GraphNode(f"{name}/quantize", fake_quantize, (name,), (name,), {"grid": grid_here}))
        return nodes

    def _table(self, operator: Any) -> LookupTable | None:
        """What LiteRT makes of each of the 256 codes; None where input or output are float."""
        graph = self._written
        source, target = _grid(graph, operator.inputs[0]), _grid(graph, operator.outputs[0])
        if source is None or target is None:
            return None
        name = f"{graph.layer(operator)}/table"
        self._constants[name] = torch.from_numpy(
            (answers(graph, operator) - target.zero_point) * np.float32(target.scale)
        )
        return LookupTable(name, source, target)

    def _weights(self, operator: Any, axis: int) -> tuple[list[str], WeightGrid | None]:
        """The names of weight and bias in the float file, and the grid where the written file has integers."""
        graph = self._written
        entry, weight = int(operator.inputs[0]), int(operator.inputs[1])
        twin = self._layers.get(graph.layer(operator))
        if twin is None or not graph.is_constant(weight):
            return [self._input(index) for index in operator.inputs[1:]], None
        names = [self._trainable(int(index)) for index in twin.inputs[1:]]
        if graph.subgraph.tensors[weight].type != flatbuffer.INT8:
            return names, None
        scales = graph.subgraph.tensors[weight].quantization.scale
        if len(scales) != graph.subgraph.tensors[weight].shape[axis]:
            raise StepError("unknown-grid", f"the weights of {graph.layer(operator)} do not have one scale per channel")
        source = _grid(graph, entry)
        return names, WeightGrid(axis, LIMIT, source.scale if source else None, BIAS_LIMIT)

    def _trainable(self, index: int) -> str:
        if index == -1:
            return ""
        name = self._float.name(index)
        self._trained[name] = torch.from_numpy(self._float.constant(index))
        return name

    def _input(self, index: int) -> str:
        """The name of an operator's input; what is constant is kept, on the grid of the file."""
        graph = self._written
        if index == -1:
            return ""
        name = graph.name(index)
        if graph.is_constant(index) and name not in self._constants and name not in self._integers:
            values, grid = graph.constant(index), _grid(graph, index)
            if grid is not None:
                values = np.asarray((values.astype(np.int32) - grid.zero_point) * grid.scale, dtype=np.float32)
            (self._constants if values.dtype == np.float32 else self._integers)[name] = torch.from_numpy(values)
        return name


def _grid(graph: flatbuffer.Graph, index: int) -> Grid | None:
    """Of a per-tensor int8 tensor; None for any other."""
    tensor = graph.subgraph.tensors[index]
    if tensor.type != flatbuffer.INT8 or tensor.quantization is None or len(tensor.quantization.scale) != 1:
        return None
    return Grid(float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]), -128, 127)


def _to_nhwc(inputs: Any, _: Any) -> Tensor:
    images: Tensor = inputs[0].permute(0, 2, 3, 1)
    return images
