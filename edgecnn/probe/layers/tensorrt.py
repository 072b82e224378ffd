"""Layer times of trtexec: JSON of a second run with the profiler, beside the times of a run without it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from .. import backends
from ..errors import ProbeError, first_line
from .timing import FEWEST_RUNS, Profiled, TimingPlan, short

METHOD = "trtexec"
RESOLUTION_NS = 500
"""CUDA events have steps of about half a microsecond (CUDA Runtime API, cudaEventElapsedTime)."""
MAX_JSON_BYTES = 64 << 20
MAX_TENSORS = 16
MAX_RANK = 16
DETAILS = ("LayerType", "ParameterType", "Origin", "TacticName")
FILES = ("profile.json", "layers.json", "times.json")


def profile(path: str, options: dict[str, Any], plan: TimingPlan) -> Profiled:
    """Build or find the engine, run it with and without the profiler. Whole runs are GPU time, without copies."""
    backend = backends.find("tensorrt")
    where = [os.path.join(plan.folder, name) for name in FILES]
    plan.events.send("phase", name="profiling", runs=plan.runs)
    runtime = backend.run_engine(path, options, more=profile_flags(where, plan), timeout_s=60 + 4 * plan.max_s)
    layers = read_profile(_load(where[0]), _load(where[1]))
    whole = read_times(_load(where[2]))
    return Profiled(METHOD, runtime, RESOLUTION_NS, layers, whole, [], [sum(int(item["median_ns"]) for item in layers)])


def profile_flags(where: Sequence[str], plan: TimingPlan) -> list[str]:
    """What trtexec is told beside the flags of every run. From TensorRT 11 on the profiler's run is always its own."""
    profile_json, layers_json, times_json = where
    return [
        "--dumpProfile",
        "--separateProfileRun",
        "--profilingVerbosity=detailed",
        "--exportProfile=" + profile_json,
        "--exportLayerInfo=" + layers_json,
        "--exportTimes=" + times_json,
        "--warmUp=500",
        f"--iterations={max(FEWEST_RUNS, plan.runs)}",
        "--duration=0",
    ]


def read_profile(times: Any, information: Any) -> list[dict[str, Any]]:
    """Layers in the order of execution, with what is known of each. Raises ProbeError bad-trace when there is none.

    `times` is `--exportProfile`'s list, whose first entry is a count; `information` is `--exportLayerInfo`'s object.
    """
    known = {}
    for item in information.get("Layers", []) if isinstance(information, dict) else ():
        if isinstance(item, dict) and isinstance(item.get("Name"), str):
            known[item["Name"]] = item
    layers = []
    for entry in times if isinstance(times, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        ms = next((entry[key] for key in ("medianMs", "averageMs") if _is_time(entry.get(key))), None)
        if ms is not None:
            layers.append(_layer(entry["name"], ms, known.get(entry["name"], {})))
    if not layers:
        raise ProbeError("bad-trace", "trtexec's profile tells nothing of the layers")
    return layers


def _layer(name: str, ms: float, about: dict[str, Any]) -> dict[str, Any]:
    weights = about.get("Weights")
    count = weights.get("Count") if isinstance(weights, dict) else None
    return {
        "name": short(name),
        "op": short(about.get("LayerType", "")),
        "inputs": _tensors(about.get("Inputs")),
        "outputs": _tensors(about.get("Outputs")),
        "weights": count if isinstance(count, int) and 0 <= count < 1 << 53 else 0,
        "details": {key: short(about[key]) for key in DETAILS if isinstance(about.get(key), str)},
        "median_ns": ms * 1e6,
        "q1_ns": None,
        "q3_ns": None,
    }


def _tensors(raw: Any) -> list[list[Any]]:
    """`[["Row major linear FP32", [1, 3, 224, 224]]]`."""
    tensors: list[list[Any]] = []
    for item in raw[:MAX_TENSORS] if isinstance(raw, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("Dimensions"), list):
            continue
        sizes = [size for size in item["Dimensions"][:MAX_RANK] if isinstance(size, int) and 0 <= size < 1 << 53]
        tensors.append([short(item.get("Format/Datatype", item.get("Datatype", "?"))), sizes])
    return tensors


def read_times(raw: Any) -> list[int]:
    """GPU time of each run in ns, from `--exportTimes`. Raises ProbeError bad-trace when there is none."""
    times = [item.get("computeMs") for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []
    times_ns = [int(float(ms) * 1e6) for ms in times if ms is not None and _is_time(ms)]
    if not times_ns:
        raise ProbeError("bad-trace", "trtexec's times tell nothing of the whole model")
    return times_ns


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _load(path: str) -> Any:
    try:
        if os.path.getsize(path) > MAX_JSON_BYTES:
            raise ProbeError("trace-too-big", "trtexec's file is too big to read", os.path.basename(path))
        with open(path, encoding="utf-8", errors="replace") as stream:
            return json.load(stream)
    except (OSError, ValueError) as error:
        raise ProbeError("bad-trace", "trtexec left no layer times", first_line(error)) from error
