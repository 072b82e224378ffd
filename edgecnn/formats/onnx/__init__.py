"""ONNX files: export, quantize, lint, cost and trace for ONNX Runtime."""

from __future__ import annotations

from edgecnn.formats.registry import Format, RuntimeCheck

RUN_A_MODEL = """
import numpy, onnx, onnxruntime
from onnx import TensorProto as T, helper as h
value = lambda name: h.make_tensor_value_info(name, T.FLOAT, [1])
graph = h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
assert session.run(None, {"x": numpy.ones(1, numpy.float32)})[0][0] == 1
"""
SECOND_TAGS = frozenset(b"\x12\x1a\x22\x28\x32\x3a\x42\x72")
"""Fields of ONNX's ModelProto, as a protocol buffer writes them."""


def recognises(head: bytes) -> bool:
    """Whether a file begins like a ModelProto: its IR version, then one of its other fields."""
    return len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in SECOND_TAGS


FORMAT = Format(
    name="onnx",
    title="ONNX",
    suffix=".onnx",
    backend="onnxruntime",
    family="onnxruntime",
    runtime="ONNX Runtime",
    rank=10,
    recognises=recognises,
    export="edgecnn.formats.onnx.export:export",
    quantize="edgecnn.formats.onnx.quantize:quantize",
    cast="edgecnn.formats.onnx.half:to_half",
    lint="edgecnn.formats.onnx.lint:lint",
    read="edgecnn.formats.onnx.read:read",
    activations="edgecnn.formats.onnx.quantize:activations",
    trace="edgecnn.formats.onnx.trace:nodes",
    qat="edgecnn.compress.qat.onnx:prepare",
    precisions=("fp32", "fp16", "int8"),
    quantize_options=frozenset({"weight_bits"}),
    saturates="edgecnn.formats.onnx.quantize:saturates_here",
    tools=("onnx", "onnxscript", "onnx-ir", "onnxruntime"),
    check=RuntimeCheck(("onnxruntime", "onnx"), "runs a model", RUN_A_MODEL),
    requirements=("onnxruntime",),
    board_packages=("onnxruntime",),
    wheels="edgecnn.measure.checkup.wheels:onnxruntime",
)
