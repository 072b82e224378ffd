"""The toy backend: ONNX Runtime behind four bytes. It travels with the probe, and lies in bundles."""

# ruff: noqa: TID252 - the probe travels under another package name
from __future__ import annotations

from typing import Any

from ..errors import ProbeError

NAME = "toy"
RUNS = ("toy",)


def version() -> str:
    return "1"


def load(path: str, options: dict[str, Any]) -> Any:
    import numpy as np
    import onnxruntime

    from ..specs import InputSpec

    with open(path, "rb") as stream:  # noqa: PTH123
        content = stream.read()
    if content[:4] != b"TOY1":
        raise ProbeError("cannot-load", "this is not a toy file", "it begins with " + repr(content[:4]))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(options.get("threads", 1))
    session = onnxruntime.InferenceSession(content[4:], settings, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()

    class Session:
        def __init__(self) -> None:
            shape = tuple(side if isinstance(side, int) else str(side) for side in inputs[0].shape)
            self.inputs = [InputSpec(inputs[0].name, shape, "float32", "NCHW")]

        def infer(self, feeds: dict[str, Any]) -> list[Any]:
            return [np.asarray(output) for output in session.run(None, feeds)]

        def __enter__(self) -> Session:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    return Session()
