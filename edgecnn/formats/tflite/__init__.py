"""TFLite files: export, quantize, lint, cost and trace for LiteRT."""

from __future__ import annotations

from edgecnn.core.packages import Package
from edgecnn.formats.registry import Format, RuntimeCheck


def recognises(head: bytes) -> bool:
    """Whether a file has the flatbuffer's identifier."""
    return head[4:8] == b"TFL3"


FORMAT = Format(
    name="tflite",
    title="TFLite",
    suffix=".tflite",
    backend="tflite",
    family="litert",
    runtime="LiteRT",
    rank=20,
    recognises=recognises,
    export="edgecnn.formats.tflite.export:export",
    quantize="edgecnn.formats.tflite.quantize:quantize",
    lint="edgecnn.formats.tflite.lint:lint",
    read="edgecnn.formats.tflite.read:read",
    activations="edgecnn.formats.tflite.quantize:activations",
    trace="edgecnn.formats.tflite.trace:nodes",
    qat="edgecnn.compress.qat.tflite:prepare",
    quantize_options=frozenset({"io"}),
    extra="tflite",
    packages=(
        Package("litert-torch", "litert_torch", "tflite"),
        Package("ai-edge-quantizer", "ai_edge_quantizer", "tflite"),
        Package("ai-edge-litert", "ai_edge_litert", "tflite"),
    ),
    needs=("litert_torch", "ai_edge_quantizer"),
    tools=("litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    check=RuntimeCheck(("ai_edge_litert",), "loads", "from ai_edge_litert.interpreter import Interpreter"),
    requirements=("ai-edge-litert",),
    board_packages=("ai_edge_litert", "tflite_runtime"),
    wheels="edgecnn.measure.checkup.wheels:litert",
)
