"""Lint for TensorRT: what its own parser and builder say of an ONNX file. It needs no GPU."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import install_hint
from edgecnn.formats.fusion import FloatLayer, Fusion
from edgecnn.probe.python import python_command
from edgecnn.probe.system import clean_environment

RUNTIME = "tensorrt"
WHEELS = ("tensorrt_rtx_bindings", "onnxruntime_ep_nv_tensorrt_rtx")
BUILD = "from edgecnn.formats.tensorrt.build import main; main()"
BUILD_TIMEOUT_S = 600.0
SHOWN = 4
SHOWN_CHARACTERS = 300


def lint(artifact: Artifact) -> Fusion:
    """Parse `artifact` with TensorRT and build an engine for compute capability 8.6 in a process of its own.

    `status` is `refused` with the parser's or the builder's words in `note`, or `skipped` where TensorRT is not
    installed, does not exist for this platform, or its builder died or took too long. `counts` are the layer types
    of the parsed network; in an INT8 file `float_layers` are convolutions and matrix products whose input or weight
    does not come out of a DequantizeLinear.
    """
    if reason := _why_not():
        return Fusion(RUNTIME, "skipped", note=reason)
    try:
        told = _build(artifact, timeout_s=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Fusion(RUNTIME, "skipped", note=f"TensorRT's builder took longer than {BUILD_TIMEOUT_S:.0f} s")
    if isinstance(told, str):
        return Fusion(RUNTIME, "skipped", note=told)
    counts = {str(name): int(count) for name, count in told.get("layers", {}).items()}
    warnings = tuple(dict.fromkeys(str(line).strip() for line in told["warnings"]))
    if told["errors"] or not told["parsed"] or not told["engine_bytes"]:
        layers = tuple(_refused(error) for error in told["errors"] if error["node"])
        return Fusion(RUNTIME, "refused", counts, float_layers=layers, warnings=warnings, note=_words(told))
    floating = [layer for layer in told["weighted"] if not _is_integer(layer)]
    integer = len(told["weighted"]) - len(floating)
    layers = tuple(map(_float_layer, floating)) if artifact.precision == "int8" else ()
    if layers:
        names = ", ".join(layer.name for layer in layers[:SHOWN]) + (" ..." if len(layers) > SHOWN else "")
        warnings = (*warnings, f"{len(layers)} layers with weights run in float: {names}")
    megabytes = told["engine_bytes"] / 1e6
    note = (
        f"TensorRT-RTX {told['version']}: an engine of {megabytes:.1f} MB for compute capability 8.6, built and not run"
    )
    return Fusion(RUNTIME, "checked", counts, integer, len(floating), layers, warnings, note)


def _why_not() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        here = f"{sys.platform} {platform.machine()}"
        return f"the TensorRT builder has no wheel for {here}: check on Linux x86_64, or on the board"
    if any(find_spec(wheel) is None for wheel in WHEELS):
        return f"needs the TensorRT builder: {install_hint('tensorrt')}"
    return ""


def _build(artifact: Artifact, *, timeout_s: float) -> dict[str, Any] | str:
    """What the builder process tells, or why it told nothing: a native crash must not take the run down."""
    command = python_command(BUILD, str(artifact.path))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        env=clean_environment(os.environ),
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        told: dict[str, Any] = json.loads(lines[-1])
        return told
    last = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    died = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"TensorRT's builder died ({died}): {last[-1] if last else 'it said nothing'}"


def _is_integer(layer: dict[str, str]) -> bool:
    return layer["input"] == "DEQUANTIZE" and layer["weight"] == "DEQUANTIZE"


def _float_layer(layer: dict[str, str]) -> FloatLayer:
    missing = [part for part in ("input", "weight") if layer[part] != "DEQUANTIZE"]
    return FloatLayer(
        layer["name"], layer["type"], f"its {' and '.join(missing)} does not come out of a DequantizeLinear"
    )


def _refused(error: dict[str, str]) -> FloatLayer:
    return FloatLayer(error["node"], error["op"], _essence(error["message"]))


def _words(told: dict[str, Any]) -> str:
    errors = told["errors"]
    if not errors:
        return "TensorRT refused the file and gave no reason"
    first = errors[0]
    where = f" at {first['node']} ({first['op']})" if first["node"] else ""
    return f"TensorRT-RTX {told['version']}{where}: {_essence(first['message'])}"


def _essence(message: str) -> str:
    """The line that says why, without the place in TensorRT's sources and the driver that is missing."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and "cudaError" not in line]
    telling = [line for line in lines if not line.startswith("Invalid Node")] or lines or ["no reason given"]
    inner = re.search(r"Error Code \d+: [^(]*\((.*?)( In \w+ at [^ ]+)?\)?$", telling[0])
    return (inner.group(1) if inner else telling[0])[:SHOWN_CHARACTERS]
