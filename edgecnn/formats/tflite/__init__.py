"""TFLite files: export, quantize, lint, cost and trace for LiteRT."""
