"""Networks whose costs are known by hand."""

from __future__ import annotations

from profile_networks import macs, onnx_net, tflite_net

__all__ = ["macs", "onnx_net", "tflite_net"]
