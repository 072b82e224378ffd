"""Errors of TensorRT, whether trtexec printed them or the Python bindings logged them.

Texts: `samples/` of github.com/NVIDIA/TensorRT, and logs of 8.5 to 11 in public issues.
"""

from __future__ import annotations

import re

from . import ending
from .errors import ProbeError

SHOWN_CHARACTERS = 300
MEANINGS = tuple(
    (code, message, hint, re.compile(pattern))
    for code, message, hint, pattern in (
        (
            "engine-mismatch",
            "the engine was built by another TensorRT or for another GPU",
            "remove it, and it is built again",
            r"[Vv]ersion tag does not match|[Mm]agic tag does not match|not compatible with this version of TensorRT"
            r"|on an incompatible device",
        ),
        (
            "cannot-load",
            "TensorRT's parser refuses the model",
            "export and quantize it for TensorRT: edgecnn optimize --device with a Jetson's name",
            r"While parsing node number|Failed to parse onnx file|Parsing model failed",
        ),
        (
            "cuda-unavailable",
            "CUDA does not work here",
            "on a Jetson: sudo apt install nvidia-jetpack; elsewhere look with nvidia-smi",
            r"driver version is insufficient|no CUDA-capable device|CUDA initialization failure"
            r"|Cannot find any available GPU|forward compatibility was attempted",
        ),
        (
            "out-of-memory",
            "TensorRT ran out of memory",
            "close other programs there, add swap, or try a smaller model, batch or option workspace_mib",
            r"(?:Cuda failure|Cuda Runtime|CUDA error).{0,40}out of memory|OutOfMemory|could not be allocated"
            r"|NvMapMemAlloc\w*: .{0,40}error 12|std::bad_alloc",
        ),
        (
            "cuda-error",
            "the GPU failed while TensorRT ran",
            "run it again; if it comes back, restart the board",
            r"Cuda Runtime \(|Cuda failure|CUDA error|cudaError[A-Z]",
        ),
        (
            "cannot-load",
            "TensorRT has no kernel for a layer of the model",
            "give the builder more memory with option workspace_mib, or export the layer another way",
            r"Could not find any implementation for node",
        ),
        (
            "cannot-load",
            "TensorRT cannot use the engine",
            "",
            r"[Ee]ngine deserialization failed|Failed to create engine from model or file",
        ),
        ("cannot-run", "this trtexec does not know a flag", "", r"Unknown option: --\w+"),
    )
)
"""The first that is found. What a parser says comes before memory: TensorRT warns of memory and goes on."""
PARSING = re.compile(r"While parsing node number \d+ \[[^\]\n]{0,200}\]")
ASSERTION = re.compile(r"^\s*(?:.*ERROR: .*In function .*[:,]\s*)?\[\d+\] (\S.*)$", re.MULTILINE)
PREFIX = re.compile(r"^(\[[\d/:-]+\] ?)?(\[[EWIV]\] ?)?(\[TRT\] ?)?(\[[EWIV]\] ?)?")


def explain(code: int, log: str, *, out_of_memory: bool | None = None) -> ProbeError:
    """What a failed run of trtexec means; `out_of_memory` whether the kernel killed for memory meanwhile.

    Codes: engine-mismatch, cannot-load, cuda-unavailable, out-of-memory, cuda-error, cannot-run, and those of
    `ending` for a signal.
    """
    if code < 0:
        error = last_error(log) if "[E]" in log else ""
        return ending.explain(code, title="trtexec", backend="TensorRT", log=error, out_of_memory=out_of_memory)
    return meaning(log) or ProbeError("cannot-run", f"trtexec failed with exit code {code}", last_error(log))


def meaning(log: str) -> ProbeError | None:
    """The ProbeError behind TensorRT's own words; None when none of them is known."""
    for code, message, hint, pattern in MEANINGS:
        match = pattern.search(log)
        if match:
            return ProbeError(code, message, _parser_said(log) or _line_at(log, match.start()), hint)
    return None


def last_error(log: str) -> str:
    """The last line that is marked as an error, else the last line."""
    errors = [line for line in log.splitlines() if "[E]" in line]
    return _plain(errors[-1]) if errors else last_line(log)


def last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else "it said nothing"


def _parser_said(log: str) -> str:
    """Node and assertion of a parser's error, which stand on lines of their own; empty when there is none."""
    node, assertion = PARSING.search(log), ASSERTION.search(log)
    parts = [node.group(0)] if node else []
    if assertion and (node or "Assertion failed" in assertion.group(1)):
        parts.append(assertion.group(1).strip())
    return ": ".join(parts)[:SHOWN_CHARACTERS]


def _line_at(log: str, at: int) -> str:
    end = log.find("\n", at)
    return _plain(log[log.rfind("\n", 0, at) + 1 : end if end >= 0 else len(log)])


def _plain(line: str) -> str:
    """A line of the log without its time and severity."""
    return PREFIX.sub("", line.strip())[:SHOWN_CHARACTERS]
