"""The ONNX dialect that TensorRT builds: lint, build and trace."""
