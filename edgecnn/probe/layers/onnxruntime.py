"""Layer times of ONNX Runtime: its profiler's trace of every kernel of every run, read line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..backends import onnxruntime as backend
from ..errors import ProbeError
from ..specs import random_feeds
from .timing import Profiled, TimingPlan, interleaved, middle, short, timed

METHOD = "onnxruntime-profiler"
RESOLUTION_NS = 1000
"""The trace has whole microseconds."""
MAX_TRACE_BYTES = 512 << 20
MAX_LINE_BYTES = 1 << 20
MAX_RANK = 16
MAX_TENSORS = 64
SUFFIX = "_kernel_time"
CONTROL_FLOW = ("If", "Loop", "Scan")
"""Their time holds that of the nodes inside."""

if TYPE_CHECKING:
    Key = tuple[str, str]
    """A node's name and number."""


def profile(path: str, options: dict[str, Any], plan: TimingPlan) -> Profiled:
    """Two sessions: one as it is measured elsewhere, one with the profiler that also saves the optimised graph."""
    graph = os.path.join(plan.folder, "optimised.onnx")
    with backend.load(path, options) as session:
        feeds = random_feeds(session.inputs, 1, plan.seed)[0]
        watched = _watched_session(path, options, plan.folder, graph)
        profiled = backend.Session(watched)
        taken = interleaved(lambda: session.infer(feeds), lambda: timed(lambda: profiled.infer(feeds)), plan)
        trace = watched.end_profiling()
    if os.path.getsize(trace) > MAX_TRACE_BYTES:
        raise ProbeError("trace-too-big", "ONNX Runtime's trace is too big to read", hint="ask for fewer runs")
    with open(trace, "rb") as lines:
        layers, sums = read_trace(lines, taken.kept)
    return Profiled(METHOD, backend.version(), RESOLUTION_NS, layers, taken.plain_ns, taken.profiled_ns, sums, graph)


def _watched_session(path: str, options: dict[str, Any], folder: str, graph: str) -> Any:
    def watch(settings: Any) -> None:
        settings.enable_profiling = True
        settings.profile_file_prefix = os.path.join(folder, "trace")
        settings.optimized_model_filepath = graph
        # Weights stay out of the graph's file: the host wants shapes, and the file goes over the network.
        outside = "session.optimized_model_external_initializers_"
        settings.add_session_config_entry(outside + "file_name", "weights.bin")
        settings.add_session_config_entry(outside + "min_size_in_bytes", "256")

    return backend.open_session(path, options, watch)


def read_trace(lines: Iterable[bytes], kept: Sequence[bool]) -> tuple[list[dict[str, Any]], list[int]]:
    """(layers, ns of all layers together per run) of those runs in a trace that are `kept`.

    Raises ProbeError bad-trace when no run can be read in it.
    """
    runs: list[dict[Key, int]] = []
    about: dict[Key, dict[str, Any]] = {}
    nodes: list[dict[str, Any]] = []
    wanted = iter(kept)
    for event in _events(lines):
        name = event.get("name")
        if event.get("cat") == "Node" and isinstance(name, str) and name.endswith(SUFFIX):
            nodes.append(event)
        elif name == "model_run":
            if next(wanted, False) and nodes:
                runs.append(_own_times(nodes))
                about = {_key(node): node for node in nodes}
            nodes = []
    if not runs:
        raise ProbeError("bad-trace", "ONNX Runtime's trace tells nothing of its nodes")
    layers = [_layer(node, [run.get(key, 0) for run in runs]) for key, node in about.items()]
    return layers, [sum(run.values()) for run in runs]


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a trace: one a line in every version so far; a line that is not one is passed over."""
    for line in lines:
        text = line.strip().rstrip(b",")
        if not text.startswith(b"{") or len(text) > MAX_LINE_BYTES:
            continue
        try:
            event = json.loads(text)
        except ValueError:
            continue
        if isinstance(event, dict) and _whole(event.get("dur")) and _whole(event.get("ts")):
            yield event


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _own_times(run: list[dict[str, Any]]) -> dict[Key, int]:
    """ns of each node of a run, less those of the nodes inside it, which come before it.

    A node that runs several times in one, inside a loop, is one node.
    """
    before: list[tuple[int, int]] = []
    own: dict[Key, int] = {}
    for event in run:
        start, us = event["ts"], event["dur"]
        alone = us
        if _arguments(event).get("op_name") in CONTROL_FLOW:
            inside = [item for item in before if item[0] >= start and item[0] + item[1] <= start + us]
            before = [item for item in before if item not in inside]
            alone = max(0, us - sum(item[1] for item in inside))
        own[_key(event)] = own.get(_key(event), 0) + alone * 1000
        before.append((start, us))
    return own


def _key(event: dict[str, Any]) -> Key:
    return event["name"], str(_arguments(event).get("node_index", ""))


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    arguments = event.get("args")
    return arguments if isinstance(arguments, dict) else {}


def _layer(event: dict[str, Any], times_ns: list[int]) -> dict[str, Any]:
    about = _arguments(event)
    return {
        "name": short(event["name"][: -len(SUFFIX)]),
        "op": short(about.get("op_name", "?")),
        "provider": short(about.get("provider", "")),
        "inputs": _tensors(about.get("input_type_shape")),
        "outputs": _tensors(about.get("output_type_shape")),
        **middle(times_ns),
    }


def _tensors(raw: Any) -> list[list[Any]]:
    """`[{"uint8": [1, 3]}]` as `[["uint8", [1, 3]]]`."""
    tensors: list[list[Any]] = []
    for item in raw[:MAX_TENSORS] if isinstance(raw, list) else ():
        pairs = list(item.items()) if isinstance(item, dict) else []
        if len(pairs) == 1 and isinstance(pairs[0][1], list) and len(pairs[0][1]) <= MAX_RANK:
            tensors.append([short(pairs[0][0]), [size for size in pairs[0][1] if _whole(size)]])
    return tensors
