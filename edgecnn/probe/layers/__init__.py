"""The verb `layers`: how long each operator takes inside a runtime, beside the whole model without a profiler.

A profiler of a runtime is a module with `profile(path, options, plan) -> Profiled`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from .. import arrays, backends, facts
from ..errors import ProbeError
from ..events import Events
from ..job import Job
from ..sensors.jetson import power_mode
from ..sensors.machine import Machine
from .timing import Profiled, TimingPlan

PROFILERS = {"onnxruntime": "onnxruntime", "tflite": "litert", "tensorrt": "tensorrt"}
"""The module that reads a backend's profiler."""
MAX_LAYERS = 8192
MAX_GRAPH_BYTES = 64 << 20


def layers(job: Job, events: Events) -> dict[str, Any]:
    """Times of each layer, and of the whole model with and without the profiler, in ns.

    The graph that the runtime made of the file goes to the file `graph` as bytes (uint8); empty when there is none.
    """
    name = job.get("backend", str)
    profiler = find(name)
    path, graph = job.get("model", str), job.get_or("graph", "", str)
    options = dict(job.get_or("options", {}, dict), threads=job.get_or("threads", 1, int))
    options["cache"] = job.get_or("cache", "", str)
    runs, max_s = job.get_or("runs", 30, int), float(job.get_or("max_s", 60.0, int, float))
    about = facts.describe()
    with _folder(job) as folder:
        plan = TimingPlan(max(1, runs), max_s, job.get_or("seed", 0, int), folder, events)
        profiled = profiler.profile(path, options, plan)
        if len(profiled.layers) > MAX_LAYERS:
            raise ProbeError("too-many-layers", f"the model has {len(profiled.layers)} layers", f"at most {MAX_LAYERS}")
        if graph:
            arrays.save(graph, _read(profiled.graph))
    return {
        "method": profiled.method,
        "resolution_ns": profiled.resolution_ns,
        "layers": profiled.layers,
        "whole_ns": profiled.whole_ns,
        "profiled_ns": profiled.profiled_ns,
        "sums_ns": profiled.sums_ns,
        "facts": dict(about, runtime=profiled.runtime, power_mode=power_mode(Machine())),
    }


def find(backend: str) -> Any:
    """The profiler of a backend. Raises ProbeError unknown-backend or no-layer-times."""
    if backend not in PROFILERS:
        backends.find(backend)
        raise ProbeError(
            "no-layer-times",
            f"backend {backend} does not tell how long its layers take",
            hint="these do: " + ", ".join(PROFILERS),
        )
    return import_module("." + PROFILERS[backend], __name__)


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[str]:
    """A private place for the runtime's files, in the job's own folder where there is one."""
    folder = tempfile.mkdtemp(prefix="layers-", dir=job.get_or("folder", None, str))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: str | None) -> np.ndarray:
    """A file's bytes; none where there is no file, or a huge one."""
    if path is None or not os.path.isfile(path) or os.path.getsize(path) > MAX_GRAPH_BYTES:
        return np.zeros(0, np.uint8)
    return np.fromfile(path, np.uint8)


__all__ = ["Profiled", "layers"]
