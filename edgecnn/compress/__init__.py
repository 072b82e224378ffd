"""Compression of the network before it is exported: pruning, distillation, QAT, and the fallbacks of a recipe."""
