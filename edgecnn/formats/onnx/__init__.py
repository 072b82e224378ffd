"""ONNX files: export, quantize, lint, cost and trace for ONNX Runtime."""
