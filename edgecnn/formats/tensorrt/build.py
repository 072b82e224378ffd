"""Build with TensorRT, as a program of its own: parse one ONNX file, build an engine ahead of time, print JSON.

`main` prints one JSON object on the last line of stdout. It needs no GPU:
the engine is built for a compute capability, not for a device, and is thrown away.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

BINDINGS = "tensorrt_rtx_bindings"
LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"
COMPUTE_CAPABILITY = "SM86"
"""Ampere, as Orin's SM87, which the ahead-of-time builder does not know."""
WEIGHTED = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"})
PASSES = frozenset({"SHUFFLE", "IDENTITY", "SLICE"})
"""Layers that move values without computing: looked through on the way to a DEQUANTIZE."""


def load() -> Any:
    """The bindings, after the two libraries they want, which the wheel carries under versioned names."""
    spec = importlib.util.find_spec(LIBRARIES)
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
    for stem in ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"):
        files = [file for file in sorted(folder.glob(f"{stem}.*")) if not file.is_symlink()]
        if not files:
            raise ImportError(f"{LIBRARIES} has no {stem}")
        ctypes.CDLL(str(files[-1]), ctypes.RTLD_GLOBAL)
    return importlib.import_module(BINDINGS)


def build(path: str) -> dict[str, Any]:
    """What the parser and the builder say of the file at `path`."""
    trt = load()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        errors = [_error(parser.get_error(index)) for index in range(parser.num_errors)]
        return {"version": trt.__version__, "parsed": False, "errors": errors, "warnings": logger.warnings}
    found = _describe(network)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, COMPUTE_CAPABILITY), 0)
    config.add_optimization_profile(_batch_of_one(builder, network))
    engine = builder.build_serialized_network(network, config)
    found["engine_bytes"] = engine.nbytes if engine is not None else 0
    errors = [{"node": "", "op": "", "message": line} for line in logger.errors] if engine is None else []
    return {"version": trt.__version__, "parsed": True, "errors": errors, "warnings": logger.warnings, **found}


def _batch_of_one(builder: Any, network: Any) -> Any:
    """A profile that makes every free dimension 1: edge inference is one image at a time."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        entry = network.get_input(index)
        shape = tuple(max(1, size) for size in entry.shape)
        profile.set_shape(entry.name, shape, shape, shape)
    return profile


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.warnings: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)
            elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger()


def _error(error: Any) -> dict[str, str]:
    return {"node": error.node_name(), "op": error.node_operator(), "message": error.desc()}


def _describe(network: Any) -> dict[str, Any]:
    """Layer types, and for each layer with weights whether all it multiplies comes out of a DEQUANTIZE."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    types = Counter(_type(layer) for layer in layers)
    producer = {layer.get_output(out).name: layer for layer in layers for out in range(layer.num_outputs)}
    weighted = []
    for layer in layers:
        if _type(layer) in WEIGHTED:
            sources = (
                [_source(layer.get_input(place), producer) for place in range(2)] if layer.num_inputs > 1 else ["", ""]
            )
            if layer.num_inputs == 1:
                sources = [_source(layer.get_input(0), producer), "CONSTANT"]
            weighted.append({"name": layer.name, "type": _type(layer), "input": sources[0], "weight": sources[1]})
    return {"layers": dict(types), "weighted": weighted}


def _type(layer: Any) -> str:
    return str(layer.type).rpartition(".")[2]


def _source(tensor: Any, producer: dict[str, Any]) -> str:
    """The type of the layer that computes `tensor`; `INPUT` for the network's own."""
    while tensor is not None and tensor.name in producer:
        layer = producer[tensor.name]
        if _type(layer) not in PASSES:
            return _type(layer)
        tensor = layer.get_input(0)
    return "INPUT"


def main() -> None:
    """Print what `build` says of the file that the command line names."""
    print(json.dumps(build(sys.argv[1])))  # noqa: T201
