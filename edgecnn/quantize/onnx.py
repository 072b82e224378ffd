"""Static INT8 for ONNX graphs: ONNX Runtime's dialect and TensorRT's, from the same ranges and the same writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir  # noqa: TID253
import onnxruntime  # noqa: TID253

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.errors import InputError, StepError, did_you_mean
from edgecnn.core.events import Warned
from edgecnn.core.stage import Context
from edgecnn.quantize.norms import norms_to_convs
from edgecnn.quantize.observe import Run, observe
from edgecnn.quantize.placement import FAMILIES, Places, place
from edgecnn.quantize.ranges import Range, RangeTable
from edgecnn.quantize.stage import Quantize
from edgecnn.quantize.write import write


def quantize(source: Artifact, out: Path, *, options: Quantize, context: Context) -> Artifact:
    """Write the INT8 form of the FP32 ONNX file `source` for the family of `context.target`.

    Beside it goes `ranges.json`, the table the file was built from. Raises StepError when a tensor is not finite.
    """
    deployment = context.target.deployment(context.format)
    placement = FAMILIES[deployment.family if deployment else "onnxruntime"]
    model = ir.load(source.path)
    _warn_of_saturation(deployment.family if deployment else "", options=options, context=context)
    if placement.convolved_norms:
        norms_to_convs(model.graph)
    places = place(model.graph, placement, keep_float=_kept(model.graph, options.keep_float))
    ranges = observe(
        runner(source.path, places.observed()),
        context.data.calibration,
        options=options,
        symmetric=placement.symmetric,
        scratch=context.scratch,
        tell=context.tell,
    )
    ranges = RangeTable({**ranges.ranges, **_constants(places)})
    (out.parent / "ranges.json").write_text(ranges.to_json())
    write(model, places, placement=placement, ranges=ranges, weight_bits=options.weight_bits)
    ir.save(model, out)
    return Artifact(
        path=out,
        format=source.format,
        precision="int8",
        inputs=source.inputs,
        outputs=source.outputs,
        sha256=sha256_of(out),
        history=(*source.history, "quantize"),
    )


def _warn_of_saturation(family: str, *, options: Quantize, context: Context) -> None:
    """On x86-64 without VNNI, u8 by s8 products are added in 16 bits that saturate: 7-bit weights cannot.

    Source: ONNX Runtime documentation, "Quantize ONNX models", on `reduce_range`.
    """
    if family != "onnxruntime" or options.weight_bits == 7 or not context.target.local:
        return
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return
    if "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}:
        context.tell(
            Warned(
                "no-vnni",
                "this CPU has no VNNI: INT8 with 8-bit weights can saturate in ONNX Runtime and lose accuracy",
                "write `quantize: {weight_bits: 7}` in the recipe",
            )
        )


def runner(path: Path, wanted: list[str]) -> Run:
    """A function from float32 NCHW images to the activations named in `wanted`, by ONNX Runtime on the CPU."""
    model = ir.load(path)
    values = {value.name: value for node in model.graph for value in node.outputs}
    inputs = [str(value.name) for value in model.graph.inputs]
    taps = [name for name in wanted if name in values]
    outputs = {value.name for value in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in taps if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
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


def _constants(places: Places) -> dict[str, Range]:
    """Ranges of constant operands (a scalar in a Mul): nothing to observe, they say themselves."""
    found = {}
    for value in places.points:
        if value.const_value is not None:
            array = value.const_value.numpy()
            found[str(value.name)] = Range(float(array.min()), float(array.max()))
    return found


def _kept(graph: ir.Graph, wanted: tuple[str, ...]) -> frozenset[str]:
    names = [str(node.name) for node in graph]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(
            "unknown-layer", f"keep_float names no layer: {unknown[0]}", hint=did_you_mean(unknown[0], names)
        )
    return frozenset(wanted)
