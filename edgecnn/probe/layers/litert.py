"""Layer times of LiteRT: a time for every operator that XNNPACK or a kernel of LiteRT runs."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import compress
from typing import Any

from ..errors import ProbeError
from ..python import python_command
from ..system import clean_environment
from .litert_c import Library, LitertModel, ProfilerEvent, unsupported
from .timing import Profiled, TimingPlan, interleaved, middle, short, timed

METHOD = "litert-profiler"
RESOLUTION_NS = 1000
"""Operators are timed in whole microseconds."""
LOOK = "import sys; from ai_edge_litert.interpreter import Interpreter; Interpreter(sys.argv[1]).allocate_tensors()"
LOOK_S = 300.0
OLDEST, TOO_NEW = (2, 1, 3), (3,)


def profile(path: str, options: dict[str, Any], plan: TimingPlan) -> Profiled:
    """Two models from one file: one as it is measured elsewhere, one with the profiler."""
    folder, found = _package()
    library = Library(folder)
    threads = int(options.get("threads", 1))
    if not os.path.isfile(path):
        raise ProbeError("cannot-load", "LiteRT cannot load the model", "there is no such file")
    if options.get("shapes"):
        raise ProbeError(
            "free-shape",
            "LiteRT's profiler takes models of fixed sizes only",
            "the file leaves sizes free",
            "export it with fixed sizes; `edgecnn benchmark --shape` measures it whole",
        )
    _validate_file(path)
    plain = LitertModel(library, path, threads=threads, profiled=False, seed=plan.seed)
    watched = LitertModel(library, path, threads=threads, profiled=True, seed=plan.seed)
    runs: list[list[ProfilerEvent]] = []

    def once() -> int:
        watched.start()
        ns = timed(watched.run)
        runs.append(watched.events())
        return ns

    taken = interleaved(plain.run, once, plan)
    layers, sums = aggregate(list(compress(runs, taken.kept)))
    return Profiled(METHOD, "ai_edge_litert " + found, RESOLUTION_NS, layers, taken.plain_ns, taken.profiled_ns, sums)


def _validate_file(path: str) -> None:
    """The C library follows the offsets of a damaged file wherever they lead; the interpreter looks first. It is asked
    in a process of its own, for it brings a second runtime."""
    asked, environment = python_command(LOOK, path), clean_environment(os.environ)
    try:
        done = subprocess.run(
            asked, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LOOK_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError("cannot-load", "LiteRT cannot load the model", f"not within {LOOK_S:g} s") from error
    if done.returncode:
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ProbeError("cannot-load", "LiteRT cannot load the model", errors[-1] if errors else "it gave no reason")


def _package() -> tuple[str, str]:
    """(folder, version) of ai-edge-litert; the package itself is not imported, for it brings a second runtime."""
    spec = find_spec("ai_edge_litert")
    try:
        installed = version("ai-edge-litert")
    except PackageNotFoundError:
        installed = ""
    if spec is None or spec.origin is None or not installed:
        raise ProbeError(
            "missing-runtime",
            "the times of LiteRT's layers need the package ai-edge-litert",
            "it is not installed; tflite-runtime and tensorflow have no door to the profiler",
            "pip install ai-edge-litert",
        )
    if not OLDEST <= _numbers(installed) < TOO_NEW:
        raise unsupported(f"version {installed} is installed; 2.1.3 is the first that does, 3 is not known yet")
    return os.path.dirname(spec.origin), installed


def _numbers(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split(".")[:3]:
        digits = "".join(char for char in part if char.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)


def aggregate(runs: list[list[ProfilerEvent]]) -> tuple[list[dict[str, Any]], list[int]]:
    """(layers, ns of all layers together per run). Runs whose operators are not those of the last are left out."""
    if not runs or not runs[-1]:
        raise unsupported("the profiler saw no operator")
    shape = [(event.tag, event.delegated, event.node) for event in runs[-1]]
    alike = [run for run in runs if [(event.tag, event.delegated, event.node) for event in run] == shape]
    layers = [
        {
            "name": short(tag),
            "op": short(tag),
            "delegated": delegated,
            "node": node,
            **middle([run[place].ns for run in alike]),
        }
        for place, (tag, delegated, node) in enumerate(shape)
    ]
    return layers, [sum(event.ns for event in run) for run in alike]
