"""Packages that a command's process imports, and the operator table that PyTorch would make anew for every export."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch.onnx._internal.exporter._core",
    "torchvision",
    "onnxscript",
    "onnxruntime",
    "litert_torch",
    "scipy.sparse",
    "PIL.Image",
    "edgecnn.cli.main",
)
REGISTRATION = "torch.onnx._internal.exporter._registration"


def keep_operator_table() -> None:
    """Where the ONNX exporter has been imported: make its table of operators once, not for every export. It takes half
    of the time that a small network's export takes."""
    registry = getattr(sys.modules.get(REGISTRATION), "ONNXRegistry", None)
    if registry is not None and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(cache(registry.from_torchlib))


def convert_here() -> None:
    """Where torch has been imported: the process that converts to TFLite takes seconds to import its packages, so tests
    convert in their own. Tests of that process put `run_in_own_process` back."""
    if "torch" in sys.modules:
        from edgecnn.formats.tflite import conversion

        conversion.run_converter = _converted_here


def _converted_here(module: Any, model: Any, folder: Path) -> Any:
    from edgecnn.core.child_process import Completed
    from edgecnn.core.third_party import quiet
    from edgecnn.formats.tflite import conversion, converter

    conversion.export_program(module, model, folder)
    with quiet():
        converter.attempt(folder)
    return Completed(0, b"", b"")


def preload() -> None:
    """Import all of them, before a process is forked."""
    from edgecnn.formats.onnx.export import OPSET

    for name in PACKAGES:
        import_module(name)
    keep_operator_table()
    convert_here()
    sys.modules[REGISTRATION].ONNXRegistry.from_torchlib(opset_version=OPSET)
