"""Null backend: no model; measures the harness itself. Options: `shape` of the input, `classes`, `batch`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..specs import InputSpec, layout_of

NAME = "null"
RUNS = ("onnx", "tensorrt", "tflite", "torch")


def version() -> str:
    return "1"


def load(path: str, options: dict[str, Any]) -> Session:
    """A session that answers zeros, whatever the file is."""
    shape = tuple(options.get("shape", (1, 3, 32, 32)))
    return Session((int(options.get("batch", shape[0])), *shape[1:]), int(options.get("classes", 10)))


class Session:
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        self.inputs = [InputSpec("input", shape, "float32", layout_of(shape))]
        self._classes = classes

    def infer(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.zeros((len(feeds["input"]), self._classes), np.float32)]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        pass
