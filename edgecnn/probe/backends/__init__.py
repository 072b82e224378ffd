"""Runtimes. A backend is a plain module: `NAME; RUNS; version(); load(path, options) -> Session`.

`RUNS` names the formats it takes. A `Session` has `inputs` and `infer(feeds) -> outputs`, which returns when the
outputs are arrays in host memory; leaving its with-block frees it; `about`, where it has one, goes into the facts. A
backend never touches a clock.

One whose runtime has a clock of its own also gives `measure(path, options, plan) -> dict` (see `latency._own_clock`),
which takes its samples inside `plan.watched()`; its `version` takes the options. `prepare(path, options)`, where there
is one, does what is done once for a model and would warm the board.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..errors import ProbeError

KNOWN = ("null", "onnxruntime", "tflite", "tensorrt", "torch")


def find(name: str) -> Any:
    """The backend module called `name`; imports no runtime. Raises ProbeError unknown-backend."""
    if name not in KNOWN and not (name.isidentifier() and _is_beside(name)):
        raise ProbeError("unknown-backend", f"no backend is called '{name}'", hint="known: " + ", ".join(KNOWN))
    return import_module("." + name, __name__)


def _is_beside(name: str) -> bool:
    """Whether a backend that is not ours was packed beside these; `importing` is none."""
    spec = find_spec("." + name, __name__)
    return spec is not None and hasattr(import_module("." + name, __name__), "RUNS")


def version(backend: Any, options: dict[str, Any]) -> str:
    """The version of the runtime that a backend would use."""
    return str(backend.version(options) if hasattr(backend, "measure") else backend.version())
