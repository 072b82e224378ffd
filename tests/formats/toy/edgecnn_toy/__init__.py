"""A format from a package of its own: an ONNX file behind four bytes. Its runtime is a backend that it brings."""

from __future__ import annotations

from edgecnn.formats.registry import Format, RuntimeCheck

MAGIC = b"TOY1"

FORMAT = Format(
    name="toy",
    title="Toy",
    suffix=".toy",
    backend="toy",
    family="toy",
    runtime="Toy Runtime",
    recognises=lambda head: head.startswith(MAGIC),
    export="edgecnn_toy.kernels:export",
    quantize="edgecnn_toy.kernels:quantize",
    lint="edgecnn_toy.kernels:lint",
    read="edgecnn_toy.kernels:read",
    check=RuntimeCheck(("onnxruntime",), "plays", "import onnxruntime"),
    backend_module="edgecnn_toy.backend",
    requirements=("onnxruntime",),
)
