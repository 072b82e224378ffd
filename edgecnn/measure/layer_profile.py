"""Layer profile: time of each layer of a model on a device, with what it computes, moves and could reach at best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import MissingError
from edgecnn.core.events import Listener, Progress, timed
from edgecnn.core.result import Result
from edgecnn.core.temporary import temporary_folder
from edgecnn.core.third_party import LONGEST_NOTE, sanitize
from edgecnn.formats.cost import ComputePrecision, Operator, OperatorKind, total
from edgecnn.formats.registry import format_of_backend
from edgecnn.measure import roofline
from edgecnn.measure.device import Device
from edgecnn.measure.roofline import Bound, Peaks
from edgecnn.measure.wire.answers import LayerAnswer, LayerRow
from edgecnn.measure.wire.arrays import read_bytes
from edgecnn.measure.wire.fields import LONGEST_NAME

SCHEMA = "edgecnn.profile/1"
STEP = "profile"
RUNS = 30
RUNS_S = 60.0
TIMEOUT_S = 900.0
TIMES = ("whole", "profiled", "summed", "overhead", "accounted")
LAYER_TIMES = ("time_ns", "time_q1_ns", "time_q3_ns", "share", "gops")
NEGLIGIBLE_SHARE = 0.002
"""A layer of a smaller share is not worth naming."""


@dataclass(frozen=True, slots=True)
class TimedLayer:
    """One operator as it ran. `name` is that of the user's file where that is known, `runs_as` the runtime's.

    Times are the median over the runs and its quartiles, None where the runtime does not tell them. `macs`,
    `operations` and bytes are None where they are not known.
    """

    index: int
    name: str
    runs_as: str
    op: str
    kind: OperatorKind
    precision: ComputePrecision
    shape: tuple[int, ...] | None
    time_ns: float
    time_q1_ns: float | None
    time_q3_ns: float | None
    share: float
    macs: int | None
    operations: int | None
    weight_bytes: int | None
    activation_bytes: int | None
    merged: tuple[str, ...]
    bound: Bound | None

    @property
    def nbytes(self) -> int | None:
        if self.weight_bytes is None or self.activation_bytes is None:
            return None
        return self.weight_bytes + self.activation_bytes

    @property
    def gops(self) -> float | None:
        """10^9 operations per second; None where the time is below what the clock can tell."""
        return self.operations / self.time_ns if self.operations and self.time_ns else None

    @property
    def intensity(self) -> float | None:
        """Operations per byte moved."""
        return self.operations / self.nbytes if self.operations and self.nbytes else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles over the runs, ns."""

    median_ns: float
    q1_ns: float
    q3_ns: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        if not values:
            return None
        low, median, high = np.percentile(np.asarray(values, float), [25, 50, 75])
        return cls(float(median), float(low), float(high), len(values))


@dataclass(frozen=True, slots=True)
class LayerProfile(Result):
    """Where a model's time goes on a device.

    `whole` is without the profiler, `profiled` with it (None where the runtime does not tell), `summed` is all layers
    of a run together. `peaks` and `bound` are None where the device's are not known, and on an emulated board.
    """

    renderer: ClassVar[str] = "edgecnn.report.profile.document:to_markdown"

    model: str
    sha256: str
    format: str
    device: str
    backend: str
    threads: int
    method: str
    resolution_ns: float
    whole: Spread
    profiled: Spread | None
    summed: Spread
    layers: tuple[TimedLayer, ...]
    peaks: Peaks | None
    bound: Bound | None
    facts: Mapping[str, Any]

    @property
    def emulated(self) -> bool:
        return bool(self.facts.get("emulated"))

    @property
    def runtime(self) -> str:
        return str(self.facts.get("runtime") or self.backend)

    @property
    def overhead(self) -> float | None:
        """How much longer a run takes with the profiler, as a share."""
        if self.profiled is None or not self.whole.median_ns:
            return None
        return self.profiled.median_ns / self.whole.median_ns - 1

    @property
    def accounted(self) -> float | None:
        """Share of the profiled run, or of the whole model's time where there is none, that the layers add up to."""
        against = (self.profiled or self.whole).median_ns
        return self.summed.median_ns / against if against else None

    @property
    def macs(self) -> int | None:
        """Of the layers whose cost is known; None when none is."""
        known = [layer.macs for layer in self.layers if layer.macs is not None]
        return sum(known) if known else None

    @property
    def is_integer(self) -> bool:
        """Whether a layer computes in INT8: then what is in float has stayed behind."""
        return any(layer.kind == "integer" for layer in self.layers)

    def of_kind(self, kind: OperatorKind) -> list[TimedLayer]:
        return [layer for layer in self.layers if layer.kind == kind]

    def top(self, count: int) -> list[TimedLayer]:
        """The layers that cost most, dearest first; among equals the earlier. On an emulated board those that compute
        most, for its times are none."""
        if self.emulated:
            return sorted(self.layers, key=lambda layer: -(layer.operations or 0))[:count]
        return sorted(self.layers, key=lambda layer: -layer.time_ns)[:count]

    def limited_by_memory(self) -> list[TimedLayer]:
        """Layers that memory limits, dearest first; one that was quicker than memory is was not limited by it."""
        bounds = [(layer, layer.bound) for layer in self.layers if layer.bound is not None]
        limited = [layer for layer, b in bounds if b.limit == "memory" and not b.cached and not b.implausible]
        return sorted(limited, key=lambda layer: -layer.time_ns)

    def implausible(self) -> list[TimedLayer]:
        return [layer for layer in self.layers if layer.bound is not None and layer.bound.implausible]

    def to_dict(self) -> dict[str, Any]:
        """The whole of it under `schema`; the times of an emulated board, and what follows from them, are None."""
        derived = {"emulated": self.emulated, "runtime": self.runtime, "overhead": self.overhead}
        shares = {
            kind: sum(layer.share for layer in self.of_kind(kind))
            for kind in ("integer", "float", "conversion", "other")
        }
        layers = [{**asdict(layer), "gops": layer.gops, "intensity": layer.intensity} for layer in self.layers]
        content = {"schema": SCHEMA, **asdict(self), **derived, "accounted": self.accounted, "macs": self.macs}
        content.update(share_by_kind=shares, layers=layers)
        if self.emulated:
            content.update(dict.fromkeys((*TIMES, "share_by_kind")))
            content["layers"] = [{**layer, **dict.fromkeys(LAYER_TIMES)} for layer in layers]
        return content


def profile(
    artifact: Artifact,
    *,
    device: Device,
    profile: DeviceProfile,
    backend: str,
    threads: int,
    runs: int = RUNS,
    options: Mapping[str, Any] | None = None,
    listener: Listener,
) -> LayerProfile:
    """Time the layers of a model on `device`, in one fresh process there.

    Raises EdgecnnError with the probe's code: no-layer-times for a backend that has no profiler, bad-answer for an
    answer that makes no sense.
    """

    def on_event(event: Mapping[str, Any]) -> None:
        listener(Progress(STEP, 0, 0, "", sanitize(event.get("name", event.get("event", "")), LONGEST_NOTE)))

    with timed(listener, STEP), temporary_folder("layers") as folder:
        graph = folder / "graph.npy"
        answer = device.run(
            {
                "verb": "layers",
                "backend": backend,
                "threads": threads,
                "runs": runs,
                "max_s": RUNS_S,
                "options": dict(options or {}),
            },
            files={"model": artifact.path},
            outputs={"graph": graph},
            on_event=on_event,
            timeout_s=TIMEOUT_S,
        )
        times = LayerAnswer.read(answer, device=device.name)
        optimised = read_bytes(graph, device.name)
        nodes = _nodes(artifact, times, optimised, backend)
    peaks = roofline.peaks(profile, backend=backend, threads=threads, facts=times.facts)
    return _profile(artifact, times, nodes, peaks, {"device": device.name, "backend": backend, "threads": threads})


def _nodes(artifact: Artifact, times: LayerAnswer, optimised: bytes, backend: str) -> list[Operator]:
    """What each row is, by the graph of its runtime."""
    format = format_of_backend(backend)
    if format is None or not format.trace:
        raise MissingError("no-layer-times", f"what the rows of {backend} stand for is not known")
    rows = [row.model_dump() for row in times.layers]
    nodes: list[Operator] = plugins.resolve(format.trace)(rows, optimised, artifact.path)
    return nodes


def _profile(
    artifact: Artifact, times: LayerAnswer, nodes: Sequence[Operator], peaks: Peaks | None, where: Mapping[str, Any]
) -> LayerProfile:
    together = sum(row.median_ns for row in times.layers)
    layers = tuple(
        _layer(index, row, node, together=together, peaks=peaks, resolution_ns=times.resolution_ns)
        for index, (row, node) in enumerate(zip(times.layers, nodes, strict=True))
    )
    whole, summed = Spread.of(times.whole_ns), Spread.of(times.sums_ns or (together,))
    assert whole is not None and summed is not None
    return LayerProfile(
        model=_name(artifact.path.name),
        sha256=artifact.sha256,
        format=artifact.format,
        **where,
        method=times.method,
        resolution_ns=times.resolution_ns,
        whole=whole,
        profiled=Spread.of(times.profiled_ns),
        summed=summed,
        layers=layers,
        peaks=peaks,
        bound=_whole_bound(layers, whole.median_ns, peaks),
        facts=dict(times.facts),
    )


def _layer(
    index: int, row: LayerRow, node: Operator, *, together: float, peaks: Peaks | None, resolution_ns: float
) -> TimedLayer:
    return TimedLayer(
        index=index,
        name=_name(node.layer),
        runs_as=row.name,
        op=_name(node.op),
        kind=node.kind,
        precision=node.precision,
        shape=node.shape,
        time_ns=row.median_ns,
        time_q1_ns=row.q1_ns,
        time_q3_ns=row.q3_ns,
        share=row.median_ns / together if together else 0.0,
        **asdict(node.cost),
        merged=tuple(map(_name, node.merged)),
        bound=roofline.bound(
            node.cost, precision=node.precision, time_ns=row.median_ns, peaks=peaks, resolution_ns=resolution_ns
        ),
    )


def _name(text: str) -> str:
    return sanitize(text, LONGEST_NAME)


def _whole_bound(layers: Sequence[TimedLayer], whole_ns: float, peaks: Peaks | None) -> Bound | None:
    """All layers one after another, each computing at its peak, and every weight fetched once.

    Activations are left out of what must be moved: they may stay in a cache from one layer to the next.
    """
    if peaks is None or not peaks.operations_per_s:
        return None
    computing = sum(
        (layer.operations or 0) / peaks.operations_per_s[layer.precision] * 1e9
        for layer in layers
        if layer.precision in peaks.operations_per_s
    )
    weights = total([layer.weight_bytes for layer in layers if layer.weight_bytes is not None]) or 0
    moving = weights / peaks.bytes_per_s * 1e9 if peaks.bytes_per_s else 0.0
    return roofline.bound_of(computing, moving, nbytes=weights, time_ns=whole_ns)
