"""LiteRT (TensorFlow Lite) on the CPU, XNNPACK by default. Options: `threads`, `batch` (the inputs are resized to it),
`shapes` (sizes of inputs, by name, in its place).

A feed has the file's shape and its dtype, or float32: then it is quantised with the file's scale and zero point.
Integer outputs that carry a scale come back as float32.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from ..errors import ProbeError, first_line
from ..specs import InputSpec, batched, layout_of
from .importing import import_runtime

NAME = "tflite"
RUNS = ("tflite",)
PACKAGES = (
    ("ai_edge_litert.interpreter", "ai_edge_litert"),
    ("tflite_runtime.interpreter", "tflite_runtime"),
    ("tensorflow.lite", "tensorflow"),
)
INSTALL = "pip install ai-edge-litert (Python 3.8 and 32-bit systems: tflite-runtime)"


def _runtime() -> tuple[Any, str]:
    """The module that has `Interpreter`, and the package it is from; the first that is installed.

    One that is installed and does not start is an error: the next one would be another runtime, measured unseen.
    """
    reasons = []
    for module, package in PACKAGES:
        try:
            return import_runtime(module, backend=NAME, package=package, hint=INSTALL), package
        except ProbeError as error:
            if error.code != "missing-runtime":
                raise
            reasons.append(error.why)
    raise ProbeError("missing-runtime", "backend tflite needs the package ai-edge-litert", "; ".join(reasons), INSTALL)


def version() -> str:
    _module, package = _runtime()
    return package + " " + _distribution_version(package)


def _distribution_version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package.replace("_", "-"))
    except PackageNotFoundError:
        return str(getattr(import_module(package), "__version__", "unknown"))


def load(path: str, options: dict[str, Any]) -> Session:
    """An interpreter with its tensors allocated and an explicit number of threads."""
    module, _package = _runtime()
    try:
        interpreter = module.Interpreter(model_path=path, num_threads=int(options.get("threads", 1)))
        if options.get("shapes"):
            _reshape(interpreter, options["shapes"])
        elif options.get("batch") is not None:
            _resize(interpreter, int(options["batch"]))
        interpreter.allocate_tensors()
        return Session(interpreter)
    except ProbeError:
        raise
    except Exception as error:  # ValueError or RuntimeError, depending on what the file lacks
        raise ProbeError("cannot-load", "LiteRT cannot load the model", first_line(error)) from error


def _resize(interpreter: Any, batch: int) -> None:
    """Make every input of two axes or more `batch` long; a graph that has its batch written into it refuses."""
    details = interpreter.get_input_details()
    inputs = {
        str(detail["name"]): (int(detail["index"]), [int(size) for size in detail["shape"]]) for detail in details
    }
    specs = [InputSpec(name, tuple(shape), "", layout_of(tuple(shape))) for name, (_, shape) in inputs.items()]
    other = dict(inputs[spec.name] for spec in batched(specs) if spec.shape[0] != batch)
    if not other:
        return
    fixed = next(iter(other.values()))[0]
    belong = [index for index, length in _lengths(interpreter).items() if length == fixed]
    why = "an output keeps its size"
    try:
        for index, shape in other.items():
            interpreter.resize_tensor_input(index, [batch, *shape[1:]])
        interpreter.allocate_tensors()
        resized = all(_lengths(interpreter)[index] == batch for index in belong)
    except (ValueError, RuntimeError) as error:
        resized, why = False, first_line(error)
    if not resized:
        raise ProbeError(
            "fixed-batch",
            f"the model takes {fixed} image{'s' if fixed != 1 else ''} at a time, not {batch}, and cannot be resized",
            why,
            f"measure it with batch {fixed}",
        )


def _reshape(interpreter: Any, shapes: dict[str, list[int]]) -> None:
    for detail in interpreter.get_input_details():
        if str(detail["name"]) in shapes:
            interpreter.resize_tensor_input(int(detail["index"]), [int(size) for size in shapes[str(detail["name"])]])


def _lengths(interpreter: Any) -> dict[int, int]:
    """The first axis of every output that has one."""
    outputs = interpreter.get_output_details()
    return {int(detail["index"]): int(detail["shape"][0]) for detail in outputs if len(detail["shape"])}


def _partitions(interpreter: Any) -> int | None:
    """How many pieces of the graph XNNPACK took: 0 is none, None where the runtime does not tell."""
    try:
        return sum(str(operator["op_name"]) == "DELEGATE" for operator in interpreter._get_ops_details())
    except (AttributeError, KeyError, TypeError):
        return None


class Session:
    """`about` goes into the facts of a measurement."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.about = {"xnnpack_partitions": _partitions(interpreter)}
        self._inputs = [_Tensor(detail) for detail in interpreter.get_input_details()]
        self._outputs = [_Tensor(detail) for detail in interpreter.get_output_details()]
        self.inputs = [InputSpec(t.name, t.shape, t.dtype.name, layout_of(t.shape)) for t in self._inputs]

    def infer(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            for tensor in self._inputs:
                self._interpreter.set_tensor(tensor.index, tensor.from_feed(feeds[tensor.name]))
            self._interpreter.invoke()
            return [tensor.to_real(self._interpreter.get_tensor(tensor.index)) for tensor in self._outputs]
        except (ValueError, RuntimeError) as error:
            raise ProbeError("cannot-run", "LiteRT cannot run the model", first_line(error)) from error

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._interpreter = None


class _Tensor:
    """One input or output: real value = scale * (stored - zero_point); scale 0 where the values are not quantised."""

    def __init__(self, detail: dict[str, Any]) -> None:
        self.name = str(detail["name"])
        self.index = int(detail["index"])
        self.shape = tuple(int(size) for size in detail["shape"])
        self.dtype = np.dtype(detail["dtype"])
        self.scale, self.zero_point = float(detail["quantization"][0]), int(detail["quantization"][1])

    def from_feed(self, feed: np.ndarray) -> np.ndarray:
        if feed.dtype == self.dtype:
            return feed
        if self.scale and feed.dtype.kind == "f":
            limits = np.iinfo(self.dtype)
            feed = np.clip(np.rint(feed / np.float32(self.scale)) + self.zero_point, limits.min, limits.max)
        stored: np.ndarray = feed.astype(self.dtype)
        return stored

    def to_real(self, stored: np.ndarray) -> np.ndarray:
        if self.scale and stored.dtype.kind in "iu":
            real: np.ndarray = (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
            return real
        return stored
