"""ONNX Runtime on the CPU. Options: `threads`, `graph_optimization` (all, extended, basic, disabled)."""

# ruff: noqa: TID252 - the probe travels under another package name
from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ProbeError, first_line
from ..specs import InputSpec, layout_of

NAME = "onnxruntime"
RUNS = ("onnx", "tensorrt")
LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
TYPES = {"float": "float32", "float16": "float16", "double": "float64", "bool": "bool"}


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProbeError(
            "missing-runtime",
            "backend onnxruntime needs the package onnxruntime",
            first_line(error),
            "pip install onnxruntime",
        ) from error
    return onnxruntime


def version() -> str:
    return str(_runtime().__version__)


def load(path: str, options: dict[str, Any]) -> Session:
    """Sequential execution on the CPU provider only, with an explicit number of threads and one inter-op thread."""
    runtime = _runtime()
    level = options.get("graph_optimization", "all")
    if level not in LEVELS:
        raise ProbeError("bad-job", f"graph_optimization '{level}' is unknown", hint="known: " + ", ".join(LEVELS))
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = int(options.get("threads", 1))
    settings.inter_op_num_threads = 1
    settings.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, LEVELS[level])
    settings.log_severity_level = 3
    try:
        return Session(runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"]))
    except ProbeError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ProbeError("cannot-load", "ONNX Runtime cannot load the model", first_line(error)) from error


class Session:
    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [_spec(node) for node in session.get_inputs()]
        self._outputs = [node.name for node in session.get_outputs()]

    def infer(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            outputs: list[np.ndarray] = self._session.run(self._outputs, feeds)
        except Exception as error:
            raise ProbeError("cannot-run", "ONNX Runtime cannot run the model", first_line(error)) from error
        return outputs

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._session = None


def _spec(node: Any) -> InputSpec:
    kind = node.type[len("tensor(") : -1]
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in node.shape)
    return InputSpec(node.name, shape, TYPES.get(kind, kind), layout_of(shape))
