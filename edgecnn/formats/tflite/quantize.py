"""Full-integer TFLite: our ranges, observed over the LiteRT float graph, and ai-edge-quantizer as the writer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.events import Warned
from edgecnn.core.stage import Context
from edgecnn.core.third_party import first_line, quiet
from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.islands import float_islands
from edgecnn.quantize.layer_patterns import kept, require_integer_layer
from edgecnn.quantize.observe import Runner, observe
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import LEAST_WIDTH, RangeTable, asymmetric, floored
from edgecnn.quantize.tensor_sqnr import TensorFlow, announce, destroying_layers, tensor_sqnr
from edgecnn.quantize.trained_ranges import ranges_of

THREADS = 2
BIAS_LIMIT = 2**30
"""Half of int32: what a quantized bias may reach, so that the accumulator it starts does not overflow."""
BOUNDED_WIDTH = 2e-6
"""256 codes on which 6 / scale fits into int32."""
BOUNDED, BOUNDED_CODES = ("RELU6", "RELU_N1_TO_1"), (2, 3)
"""Operators with an upper bound, and the codes of `ActivationFunctionType` that fuse them into others."""
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def quantize(source: Artifact, out: Path, *, options: QuantizeOptions, context: Context) -> Artifact:
    """Write the full-integer form of the float TFLite file `source`: int8 activations and weights, int32 biases.

    With `io: float` the input and output stay float32 behind one QUANTIZE and one DEQUANTIZE. Beside it goes
    `ranges.json`, the table the file was built from. Raises InputError when `keep_float` names no layer, StepError when
    a tensor is not finite or no layer with weights became INT8, MissingError without the extra `tflite`.
    """
    graph = flatbuffer.Graph.read(source.path)
    floating = floating_layers(graph, options)
    ranges = calibrate(source, graph, options=options, context=context)
    (out.parent / "ranges.json").write_text(ranges.to_json())
    if revived := revive_dead_channels(graph, ranges):
        context.listener(
            Warned(
                "dead-channels", f"{revived} channels with almost no weights: their scale was raised to hold the bias"
            )
        )
    written = flatbuffer.Graph(_write(graph, ranges, options=options, floating=floating), name=out.name)
    require_integer_layer(any(_is_integer(written, operator) for operator in written.operators), options.keep_float)
    _keep_end_names(graph, written)
    written.set_metadata(graph.metadata())
    written.write(out)
    sqnr = tensor_sqnr(runner(source.path, graph), _dequantized(out, written), context.data.calibration)
    announce(destroying_layers(sqnr, _flows(graph)), out.parent, context.listener)
    described = flatbuffer.describe(out, precision="int8", history=(*source.history, "quantize"))
    return replace(described, variant=source.variant)


def _is_integer(graph: flatbuffer.Graph, operator: Any) -> bool:
    """Whether it is a layer with weights that gives INT8."""
    kind = graph.subgraph.tensors[operator.outputs[0]].type
    return graph.op(operator) in flatbuffer.WEIGHTED and int(kind) == flatbuffer.INT8


def floating_layers(graph: flatbuffer.Graph, options: QuantizeOptions) -> list[str]:
    """The layers that stay in float, by their names in the file: those that `keep_float` names, and islands. Raises
    InputError when it names none."""
    return list(dict.fromkeys([*kept(options.keep_float, _layers(graph)), *float_islands(graph)]))


def calibrate(source: Artifact, graph: flatbuffer.Graph, *, options: QuantizeOptions, context: Context) -> RangeTable:
    """Ranges of all activations: those that `source` was trained for, the others observed on the calibration images."""
    followers = {follower for follower, _ in _padded(graph)}
    wanted = [name for name in graph.activations() if name not in followers]
    found = ranges_of(source, wanted, options=options, listener=context.listener)
    if missing := [name for name in wanted if name not in found]:
        run = runner(source.path, graph)
        observed = observe(
            run if not found else _only(run, missing),
            context.data.calibration,
            options=options,
            symmetric=False,
            scratch=context.scratch,
            listener=context.listener,
        )
        found = {**observed.ranges, **found}
    return _complete(graph, RangeTable(found))


def integer_file(graph: flatbuffer.Graph, ranges: RangeTable, *, options: QuantizeOptions) -> flatbuffer.Graph:
    """The integer file as ai-edge-quantizer leaves it: its tensors have the names of the float file's."""
    return flatbuffer.Graph(_write(graph, ranges, options=options, floating=floating_layers(graph, options)))


def _only(run: Runner, names: list[str]) -> Runner:
    """`run`, of which only the tensors in `names` are looked at."""

    def some(images: np.ndarray) -> Mapping[str, np.ndarray]:
        found = run(images)
        return {name: found[name] for name in names}

    return some


class Activations(Mapping[str, np.ndarray]):
    """The tensors of the last inference, each copied out only when asked for: memory stays that of the largest one."""

    def __init__(self, interpreter: Any, indices: Mapping[str, int]) -> None:
        self._interpreter = interpreter
        self._indices = indices

    def __getitem__(self, name: str) -> np.ndarray:
        values: np.ndarray = self._interpreter.get_tensor(self._indices[name])
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def runner(path: Path, graph: flatbuffer.Graph) -> Runner:
    """A function from one float32 NCHW image to the activations of `graph`, without XNNPACK, which hides them."""
    loaded = flatbuffer.interpreter(path, delegate=False, keep_tensors=True, threads=THREADS)
    followers = {follower for follower, _ in _padded(graph)}
    indices = {name: index for name, index in graph.activations().items() if name not in followers}
    entry = loaded.get_input_details()[0]["index"]

    def run(images: np.ndarray) -> Mapping[str, np.ndarray]:
        loaded.set_tensor(entry, np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        loaded.invoke()
        return Activations(loaded, indices)

    return run


def _dequantized(path: Path, graph: flatbuffer.Graph) -> Runner:
    """A function from one float32 NCHW image to the real values of all tensors that the integer file computes; a tensor
    that no operator writes has none."""
    loaded = flatbuffer.interpreter(path, delegate=False, keep_tensors=True, threads=THREADS)
    entry = loaded.get_input_details()[0]
    computed = {graph.name(index) for operator in graph.operators for index in operator.outputs}
    details = {str(each["name"]): each for each in loaded.get_tensor_details() if str(each["name"]) in computed}

    def real(detail: dict[str, Any]) -> np.ndarray:
        scale, zero = detail["quantization"]
        values: np.ndarray = loaded.get_tensor(detail["index"])
        return values if not scale else (values.astype(np.float32) - zero) * np.float32(scale)

    def run(images: np.ndarray) -> Mapping[str, np.ndarray]:
        image = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if entry["dtype"] != np.float32:
            scale, zero = entry["quantization"]
            image = np.clip(np.rint(image / scale) + zero, -128, 127).astype(entry["dtype"])
        loaded.set_tensor(entry["index"], image)
        loaded.invoke()
        return {name: real(detail) for name, detail in details.items() if detail["dtype"] in (np.float32, np.int8)}

    return run


def _flows(graph: flatbuffer.Graph) -> list[TensorFlow]:
    def computed(indices: Any) -> tuple[str, ...]:
        return tuple(graph.name(index) for index in indices if index != -1 and not graph.is_constant(index))

    return [TensorFlow(graph.layer(item), computed(item.inputs), computed(item.outputs)) for item in graph.operators]


def activations(path: Path, image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Every float tensor that the file computes for one image (1, C, H, W), by name; those of four axes as NCHW."""
    found = runner(path, flatbuffer.Graph.read(path))(image)
    return {name: values.transpose(0, 3, 1, 2) if values.ndim == 4 else values for name, values in found.items()}


def _padded(graph: flatbuffer.Graph) -> list[tuple[str, str]]:
    """(output, input) of each PADV2: its -inf border is no activation, so the output takes the range of the input."""
    return [(graph.layer(op), graph.name(op.inputs[0])) for op in graph.operators if graph.op(op) == "PADV2"]


def _complete(graph: flatbuffer.Graph, observed: RangeTable) -> RangeTable:
    """Every range wide enough for LiteRT, which overflows on 6 / scale where an almost dead tensor meets a RELU6."""
    bounded = {graph.layer(op) for op in graph.operators if _is_bounded(graph, op)}
    ranges = {
        name: floored(found, least=BOUNDED_WIDTH if name in bounded else LEAST_WIDTH)
        for name, found in observed.ranges.items()
    }
    for follower, leader in _padded(graph):
        ranges[follower] = ranges[leader]
    return RangeTable(ranges)


def _is_bounded(graph: flatbuffer.Graph, operator: Any) -> bool:
    """Whether its result is cut off at a constant, which the kernel needs in codes."""
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    return graph.op(operator) in BOUNDED or fused in BOUNDED_CODES


def revive_dead_channels(graph: flatbuffer.Graph, ranges: RangeTable) -> int:
    """Raise the largest weight of a channel so far that `bias / (input scale * weight scale)` fits; returns how many.

    A batch norm folded over a channel that is always zero leaves weights of 1e-9 and a bias of 1: the quantized bias
    would saturate. The raise is below one rounding step of the output.
    """
    count = 0
    for operator in graph.operators:
        axis = CHANNEL_AXIS.get(graph.op(operator))
        if axis is None or len(operator.inputs) < 3 or operator.inputs[2] == -1:
            continue
        entry, weight, bias = (int(index) for index in operator.inputs[:3])
        if graph.name(entry) not in ranges or not graph.is_constant(weight) or not graph.is_constant(bias):
            continue
        least = _least_peaks(graph.constant(bias), asymmetric(ranges[graph.name(entry)], signed=True).scale)
        values = graph.constant(weight)
        channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        peaks = np.abs(channels).argmax(axis=1)
        rows = np.flatnonzero(np.abs(channels).max(axis=1) < least)
        if len(rows):
            signs = np.where(channels[rows, peaks[rows]] < 0, -1, 1)
            channels[rows, peaks[rows]] = signs * least[rows]
            moved = np.moveaxis(values, axis, 0).shape
            graph.set_constant(weight, np.ascontiguousarray(np.moveaxis(channels.reshape(moved), 0, axis)))
            count += len(rows)
    return count


def _least_peaks(bias: np.ndarray, input_scale: float) -> np.ndarray:
    least: np.ndarray = 127.0 * np.abs(bias.reshape(-1)) / (input_scale * BIAS_LIMIT)
    return least.astype(np.float32)


def _write(graph: flatbuffer.Graph, ranges: RangeTable, *, options: QuantizeOptions, floating: list[str]) -> bytes:
    """ai-edge-quantizer's bytes: static INT8 for every operator it knows, our ranges in place of its calibration."""
    quantizer = flatbuffer.require("ai_edge_quantizer.quantizer")
    types = flatbuffer.require("ai_edge_quantizer.qtyping")
    recipe = flatbuffer.require("ai_edge_quantizer.recipe")
    float_key = quantizer.AlgorithmName.NO_QUANTIZE
    try:
        with quiet():
            worker = quantizer.Quantizer(bytearray(graph.to_bytes()), recipe.static_wi8_ai8())
            for end in ("INPUT", "OUTPUT") if options.io == "float" else ():
                worker.update_quantization_recipe(".*", types.TFLOperationName[end], algorithm_key=float_key)
            for name in floating:
                everything = types.TFLOperationName.ALL_SUPPORTED
                worker.update_quantization_recipe(f"^{re.escape(name)};$", everything, algorithm_key=float_key)
            return bytes(worker.quantize(_statistics(graph, ranges), enable_progress_report=False).quantized_model)
    except Exception as error:  # it raises ValueError, RuntimeError and KeyError without a family of its own
        raise StepError(
            "cannot-quantize",
            "ai-edge-quantizer cannot quantize this graph",
            why=first_line(error),
            hint="name the layer it complains of in `keep_float`, or ship the fp32 file",
        ) from error


def _keep_end_names(source: flatbuffer.Graph, written: flatbuffer.Graph) -> None:
    """Give input and output their names back: the writer leaves them to the integer tensors inside."""
    ends = [*zip(source.subgraph.inputs, written.subgraph.inputs, strict=True)]
    ends += zip(source.subgraph.outputs, written.subgraph.outputs, strict=True)
    for before, after in ends:
        name = source.name(before)
        for index, tensor in enumerate(written.tensors):
            if index != after and written.name(index) == name:
                tensor.name = f"{name}.int8".encode()
        written.subgraph.tensors[after].name = name.encode()


def _statistics(graph: flatbuffer.Graph, ranges: RangeTable) -> dict[str, dict[str, np.ndarray]]:
    """Ranges in the form of ai-edge-quantizer's calibration result: arrays of one value, of the tensor's rank."""
    ranks = {name: len(graph.tensors[index].shape) for name, index in graph.activations().items()}

    def array(value: float, rank: int) -> np.ndarray:
        return np.full([1] * rank, value, dtype=np.float32)

    return {
        name: {"min": array(found.low, ranks[name]), "max": array(found.high, ranks[name])}
        for name, found in ranges.ranges.items()
        if name in ranks
    }


def _layers(graph: flatbuffer.Graph) -> dict[str, str]:
    """Layers by every name they answer to."""
    return {alias: graph.layer(operator) for operator in graph.operators for alias in _aliases(graph, operator)}


def _aliases(graph: flatbuffer.Graph, operator: Any) -> set[str]:
    """The layer's name, and that of its weights: the last layer is called after the output it writes."""
    names = {graph.layer(operator)}
    if len(operator.inputs) > 1 and graph.name(operator.inputs[1]).endswith(".weight"):
        names.add(graph.name(operator.inputs[1]).removesuffix(".weight"))
    return names
