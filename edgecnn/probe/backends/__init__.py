"""Runtimes. A backend is a plain module: `NAME; RUNS; version(); load(path, options) -> Session`.

`RUNS` names the formats it takes. A `Session` has `inputs` and `infer(feeds) -> outputs`, which returns when the
outputs are arrays in host memory; leaving its with-block frees it. A backend never touches a clock.
"""

# ruff: noqa: TID252 - the probe travels under another package name
from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import ProbeError

KNOWN = ("null", "onnxruntime", "tflite")


def find(name: str) -> Any:
    """The backend module called `name`; imports no runtime. Raises ProbeError unknown-backend."""
    if name not in KNOWN:
        raise ProbeError("unknown-backend", f"no backend is called '{name}'", hint="known: " + ", ".join(KNOWN))
    return import_module("." + name, __name__)
