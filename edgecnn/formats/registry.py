"""Registry of model file formats."""

from __future__ import annotations

RUNTIMES = {"onnxruntime": "ONNX Runtime", "tflite": "LiteRT", "tensorrt": "TensorRT"}
