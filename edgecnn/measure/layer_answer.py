"""The answer of the probe's verb `layers`, checked: a device is not to be believed until then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.third_party import printable
from edgecnn.measure.received import bad_answer, take

MOST_LAYERS = 8192
MOST_RUNS = 100_000
LONGEST_NAME = 400
MOST_TENSORS = 64
MOST_AXES = 16
LARGEST = float(1 << 53)
LARGEST_GRAPH = (64 << 20) + 4096
METHODS = ("onnxruntime-profiler", "litert-profiler", "trtexec")


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Times in ns. `rows` in the order of execution; `whole_ns` are runs without the profiler, `profiled_ns` runs with
    it, `sums_ns` the layers of a run together. `graph` is what the runtime made of the file; empty when not told."""

    method: str
    resolution_ns: float
    rows: tuple[dict[str, Any], ...]
    whole_ns: tuple[float, ...]
    profiled_ns: tuple[float, ...]
    sums_ns: tuple[float, ...]
    facts: Mapping[str, Any]
    graph: bytes


def checked(answer: Mapping[str, Any], graph: Path, *, device: str) -> LayerTimes:
    """The answer of `device`. Raises StepError bad-answer for anything that the probe does not say."""
    method = take(answer, "method", str, name=device)
    if method not in METHODS:
        bad_answer(device, "layer times of an unknown method")
    rows = take(answer, "layers", list, name=device)
    if not 0 < len(rows) <= MOST_LAYERS or not all(isinstance(row, dict) for row in rows):
        bad_answer(device, f"no list of 1 to {MOST_LAYERS} layers")
    whole = _series(answer, "whole_ns", device)
    if not whole:
        bad_answer(device, "no time of the whole model")
    return LayerTimes(
        method=method,
        resolution_ns=_time(answer.get("resolution_ns"), device),
        rows=tuple(_row(row, device) for row in rows),
        whole_ns=whole,
        profiled_ns=_series(answer, "profiled_ns", device),
        sums_ns=_series(answer, "sums_ns", device),
        facts=dict(take(answer, "facts", dict, name=device)),
        graph=_graph(graph, device),
    )


def _row(raw: Mapping[str, Any], device: str) -> dict[str, Any]:
    node, weights, details = raw.get("node", -1), raw.get("weights", 0), raw.get("details", {})
    if not _is_count(weights) or not isinstance(node, int) or not isinstance(details, dict):
        bad_answer(device, "a layer that makes no sense")
    quartiles = {key: raw.get(key) for key in ("q1_ns", "q3_ns")}
    return {
        "name": _text(raw.get("name"), device),
        "op": _text(raw.get("op"), device),
        "inputs": _tensors(raw.get("inputs", []), device),
        "outputs": _tensors(raw.get("outputs", []), device),
        "delegated": raw.get("delegated") is True,
        "node": node,
        "weights": weights,
        "details": {str(key)[:64]: _text(value, device) for key, value in list(details.items())[:16]},
        "median_ns": _time(raw.get("median_ns"), device),
        **{key: None if value is None else _time(value, device) for key, value in quartiles.items()},
    }


def _tensors(raw: Any, device: str) -> list[tuple[str, tuple[int, ...]]]:
    if not isinstance(raw, list) or len(raw) > MOST_TENSORS:
        bad_answer(device, "tensors that make no sense")
    found = []
    for item in raw:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], list):
            bad_answer(device, "a tensor that makes no sense")
        if len(item[1]) > MOST_AXES or not all(_is_count(side) for side in item[1]):
            bad_answer(device, "a shape that makes no sense")
        found.append((_text(item[0], device), tuple(item[1])))
    return found


def _series(answer: Mapping[str, Any], field: str, device: str) -> tuple[float, ...]:
    values = take(answer, field, list, name=device)
    if len(values) > MOST_RUNS:
        bad_answer(device, f"more than {MOST_RUNS} times in '{field}'")
    return tuple(_time(value, device) for value in values)


def _time(value: Any, device: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        bad_answer(device, "a time that makes no sense")
    return float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _text(value: Any, device: str) -> str:
    if not isinstance(value, str):
        bad_answer(device, "a name that is no text")
    return one_line(value)


def one_line(text: str) -> str:
    """A name as one line of printable text, not too long: it may come from anywhere."""
    return " ".join(printable(text[:LONGEST_NAME]).split())


def _graph(path: Path, device: str) -> bytes:
    if not path.is_file():
        return b""
    if path.stat().st_size > LARGEST_GRAPH:
        bad_answer(device, "a graph that is too big")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        bad_answer(device, "a graph that cannot be read")
    if array.dtype != np.uint8 or array.ndim != 1:
        bad_answer(device, "a graph that is no row of bytes")
    return bytes(array.tobytes())
