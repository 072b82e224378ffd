"""Quantization-aware training: the weights learn the grid that the INT8 file will have."""
