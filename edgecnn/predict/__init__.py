"""Predictors: a checkpoint in PyTorch, a file in its runtime; test-time augmentation, parity of two answers."""
