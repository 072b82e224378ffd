"""torch → ONNX (with graph surgery), → TFLite, → the ONNX dialect of TensorRT; fusion lint, verification, bundle."""
