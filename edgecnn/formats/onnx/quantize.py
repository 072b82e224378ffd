"""Static INT8 for ONNX graphs: ONNX Runtime's dialect and TensorRT's, from the same ranges and the same writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import StepError
from edgecnn.core.events import Warned
from edgecnn.core.stage import Context
from edgecnn.formats.onnx.norms import norms_to_convs
from edgecnn.formats.onnx.placement import DEFAULT, FAMILIES, Placement, Places, place, result_of
from edgecnn.formats.onnx.qdq import write
from edgecnn.quantize.layer_patterns import kept, require_integer_layer
from edgecnn.quantize.observe import Runner, observe
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import Range, RangeTable
from edgecnn.quantize.tensor_sqnr import TensorFlow, announce, destroying_layers, tensor_sqnr
from edgecnn.quantize.trained_ranges import ranges_of

CPUINFO = Path("/proc/cpuinfo")


def quantize(source: Artifact, out: Path, *, options: QuantizeOptions, context: Context) -> Artifact:
    """Write the INT8 form of the FP32 ONNX file `source` for the family of `context.target`.

    Beside it goes `ranges.json`, the table the file was built from. Raises InputError when `keep_float` names no layer,
    StepError when a tensor is not finite, or when no layer with weights could become INT8.
    """
    placement = placement_for(context)
    if placement.name == "onnxruntime" and options.weight_bits == 8 and saturates_here():
        context.listener(_saturation(context.target))
    model = opened(source.path, placement)
    places = chosen(model, placement, options)
    require_integer_layer(bool(places.weighted), options.keep_float, why=_not_float32(model))
    ranges = calibrate(source, places, placement=placement, options=options, context=context)
    (out.parent / "ranges.json").write_text(ranges.to_json())
    layers = _flows(model.graph)
    write(model, places, placement=placement, ranges=ranges, weight_bits=options.weight_bits)
    ir.save(model, out)
    names = [name for layer in layers for name in layer.writes]
    sqnr = tensor_sqnr(runner(source.path, names), _dequantized(out, names), context.data.calibration)
    announce(destroying_layers(sqnr, layers), out.parent, context.listener)
    return Artifact(
        path=out,
        format=source.format,
        precision="int8",
        inputs=source.inputs,
        outputs=source.outputs,
        sha256=sha256_of(out),
        history=(*source.history, "quantize"),
        variant=source.variant,
    )


def placement_for(context: Context) -> Placement:
    """The rules of the family that runs the context's format on its target."""
    deployment = context.target.deployment(context.format)
    return FAMILIES[deployment.family] if deployment else DEFAULT


def opened(path: Path, placement: Placement) -> ir.Model:
    """The float file in the form that is quantized: the nodes and values that `keep_float` and ranges name."""
    model = ir.load(path)
    if placement.convolved_norms:
        norms_to_convs(model.graph)
    return model


def _not_float32(model: ir.Model) -> str:
    """What is wrong with the types of the file's weights; empty where some are float32, which is what is quantized."""
    types = {value.dtype for value in model.graph.initializers.values() if value.dtype is not None}
    floats = {kind for kind in types if kind.is_floating_point()}
    if not floats or ir.DataType.FLOAT in floats:
        return ""
    return f"its weights are {', '.join(sorted(kind.name.lower() for kind in floats))}, and INT8 is made of float32"


def floating_layers(model: ir.Model, options: QuantizeOptions) -> frozenset[str]:
    """The nodes that stay in float. Raises InputError when `keep_float` names none."""
    return frozenset(kept(options.keep_float, {str(node.name): str(node.name) for node in model.graph}))


def chosen(model: ir.Model, placement: Placement, options: QuantizeOptions) -> Places:
    """What of an opened file becomes integer. Raises InputError when `keep_float` names no layer."""
    return place(model.graph, placement, keep_float=floating_layers(model, options))


def calibrate(
    source: Artifact, places: Places, *, placement: Placement, options: QuantizeOptions, context: Context
) -> RangeTable:
    """Ranges of all `places`: those that `source` was trained for, the others observed on the calibration images."""
    constant = _constants(places)
    wanted = [name for name in places.observed() if name not in constant]
    found = ranges_of(source, wanted, options=options, listener=context.listener)
    if missing := [name for name in wanted if name not in found]:
        observed = observe(
            runner(source.path, missing),
            context.data.calibration,
            options=options,
            symmetric=placement.symmetric,
            scratch=context.scratch,
            listener=context.listener,
        )
        found = {**observed.ranges, **found}
    return RangeTable({**found, **constant})


def _flows(graph: ir.Graph) -> list[TensorFlow]:
    """The layers of a float graph; an activation belongs to the layer that takes it in."""
    layers, taken = [], set[str]()
    for node in graph:
        results = [value for value in (*node.outputs, result_of(graph, node)) if value.dtype == ir.DataType.FLOAT]
        if str(node.name) in taken or not results:
            continue
        taken |= {str(follower.name) for value in results if (follower := value.producer()) is not None}
        reads = tuple(str(value.name) for value in node.inputs if value is not None and value.const_value is None)
        layers.append(TensorFlow(str(node.name), reads, tuple(dict.fromkeys(str(value.name) for value in results))))
    return layers


def _dequantized(path: Path, names: list[str]) -> Runner:
    """A function from images to the tensors of an INT8 file as readers get them, computed as written: the sums of
    integer kernels may saturate on this CPU, which is not the file's fault."""
    known = {str(value.name) for node in ir.load(path).graph for value in node.outputs}
    read = {name: f"{name}/dq" if f"{name}/dq" in known else name for name in names}
    run = runner(path, list(read.values()), as_written=True)

    def found(images: np.ndarray) -> Mapping[str, np.ndarray]:
        values = run(images)
        return {name: values[tap] for name, tap in read.items() if tap in values}

    return found


def saturates_here() -> bool:
    """Whether this CPU adds u8 by s8 products in 16 bits that saturate: x86-64 without VNNI. 7-bit weights cannot.

    Source: ONNX Runtime documentation, "Quantize ONNX models", on `reduce_range`.
    """
    try:
        flags = set(CPUINFO.read_text().split())
    except OSError:
        return False
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}


def _saturation(target: DeviceProfile) -> Warned:
    message = "this CPU has no VNNI: INT8 with 8-bit weights can saturate in ONNX Runtime and lose accuracy"
    if not target.local:
        message += f"; what is judged here may be worse than on the {target.title}"
    return Warned(
        "no-vnni",
        message,
        "in the recipe, give the stage 7 bits: `- quantize: {weight_bits: 7}`; alone: edgecnn quantize --weight-bits 7",
    )


def runner(path: Path, wanted: list[str], *, as_written: bool = False) -> Runner:
    """A function from float32 NCHW images to the activations named in `wanted`, by ONNX Runtime on the CPU; without its
    optimizations where the file is to be computed `as_written`."""
    model = ir.load(path)
    values = {value.name: value for node in model.graph for value in node.outputs}
    inputs = [str(value.name) for value in model.graph.inputs]
    taps = [name for name in wanted if name in values]
    outputs = {value.name for value in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in taps if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises its own pybind exceptions
        raise StepError(
            "cannot-load", f"ONNX Runtime does not load {path.name}", why=str(error).splitlines()[0]
        ) from error

    def run(images: np.ndarray) -> Mapping[str, np.ndarray]:
        # To ONNX Runtime an empty list of outputs means all of them.
        found = dict(zip(taps, session.run(taps, {inputs[0]: images}), strict=True)) if taps else {}
        if inputs[0] in wanted:
            found[inputs[0]] = images
        return found

    return run


def activations(path: Path, image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Every float tensor that the file computes for one image (1, C, H, W), by name."""
    values = [value for node in ir.load(path).graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    return runner(path, [str(value.name) for value in values])(image)


def _constants(places: Places) -> dict[str, Range]:
    """Ranges of constant operands (a scalar in a Mul): nothing to observe, they say themselves."""
    found = {}
    for value in places.points:
        if value.const_value is not None:
            array = value.const_value.numpy()
            found[str(value.name)] = Range(float(array.min()), float(array.max()))
    return found
