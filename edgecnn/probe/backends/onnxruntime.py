"""ONNX Runtime. Options: `threads`, `graph_optimization` (all, extended, basic, disabled), `provider`, `shapes` (of
free inputs, by name).

Without `provider` the CPU runs all. With one, such as CUDAExecutionProvider, it runs all: what it leaves to the CPU is
an error, for ONNX Runtime itself falls back in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ProbeError, first_line
from ..specs import InputSpec, layout_of, with_shapes
from .importing import import_runtime

NAME = "onnxruntime"
RUNS = ("onnx", "tensorrt")
LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
CPU = "CPUExecutionProvider"
TYPES = {"float": "float32", "float16": "float16", "double": "float64", "bool": "bool"}


def _runtime() -> Any:
    return import_runtime("onnxruntime", backend=NAME, package="onnxruntime", hint="pip install onnxruntime")


def version() -> str:
    return str(_runtime().__version__)


def load(path: str, options: dict[str, Any]) -> Session:
    """Sequential execution on one provider only, with an explicit number of threads and one inter-op thread."""
    return Session(open_session(path, options), options.get("shapes") or {})


def open_session(path: str, options: dict[str, Any], change: Callable[[Any], None] = lambda settings: None) -> Any:
    """ONNX Runtime's own session; `change` is given its SessionOptions first."""
    runtime = _runtime()
    level, provider = options.get("graph_optimization", "all"), str(options.get("provider") or CPU)
    if level not in LEVELS:
        raise ProbeError("bad-job", f"graph_optimization '{level}' is unknown", hint="known: " + ", ".join(LEVELS))
    _validate_provider(runtime, provider)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = int(options.get("threads", 1))
    settings.inter_op_num_threads = 1
    settings.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, LEVELS[level])
    settings.log_severity_level = 3
    change(settings)
    if provider != CPU:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = runtime.InferenceSession(path, settings, providers=[provider], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            raise _fell_back(provider, first_line(error)) from error
        raise ProbeError("cannot-load", "ONNX Runtime cannot load the model", first_line(error)) from error
    if session.get_providers()[0] != provider:
        raise _fell_back(provider, "the session runs on " + ", ".join(session.get_providers()))
    return session


def _validate_provider(runtime: Any, provider: str) -> None:
    """A wheel has the providers it was built with; one that is not in it is passed over with a warning only."""
    there = runtime.get_available_providers()
    if provider not in there:
        raise ProbeError(
            "missing-runtime",
            f"this onnxruntime has no {provider}",
            "it has: " + ", ".join(there),
            "install a wheel that was built with it, or leave option provider out",
        )


def _fell_back(provider: str, why: str) -> ProbeError:
    return ProbeError(
        "cpu-fallback",
        f"{provider} does not run all of the model, and the CPU must not run the rest unseen",
        why,
        "leave option provider out to measure the CPU",
    )


class Session:
    """`about` goes into the facts of a measurement."""

    def __init__(self, session: Any, shapes: dict[str, list[int]] | None = None) -> None:
        self._session = session
        self.about = {"provider": session.get_providers()[0]}
        self.inputs = with_shapes([_spec(node) for node in session.get_inputs()], shapes or {})
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
