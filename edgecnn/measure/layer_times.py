"""Layer times by node name: what a latency-aware choice of channels is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import Artifact, FormatName, sha256_of
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import MissingError
from edgecnn.core.events import Listener, ignore, scoped
from edgecnn.core.stage import LayerTimes
from edgecnn.formats.registry import runs_here, runtime_title
from edgecnn.measure.connection import Connection
from edgecnn.measure.layer_profile import STEP, profile

RUNS = 50
"""Of each file; what is read is the median."""


@dataclass(frozen=True, slots=True)
class MeasuredTimes:
    """Layer times on one device; satisfies `core.stage.LayerTimes`."""

    connection: Connection
    target: DeviceProfile
    threads: int
    listener: Listener

    def __call__(self, file: Path, format: FormatName) -> Mapping[str, float]:
        """Median time in ns by node name; rows of one name are added up. Raises EdgecnnError."""
        deployment = self.target.deployment(format)
        if deployment is None or (self.connection.local and not runs_here(deployment.backend)):
            raise MissingError(
                "no-layer-times",
                f"the layers of a {format} file cannot be timed here",
                why=f"{runtime_title(deployment.backend)} times them on the board"
                if deployment
                else f"{self.target.name} does not run {format}",
                hint="name a board with --device, or give the share of MACs instead of the latency",
            )
        profiled = profile(
            Artifact(file, format, "fp32", (), (), sha256_of(file)),
            device=self.connection.device,
            profile=self.target,
            backend=deployment.backend,
            threads=self.threads,
            runs=RUNS,
            listener=scoped(self.listener, STEP),
        )
        times: dict[str, float] = defaultdict(float)
        for layer in profiled.layers:
            times[layer.name] += layer.time_ns
        return dict(times)

    def identity(self, format: FormatName) -> list[Any]:
        """The machine without its last boot: hours of training are not repeated because it was switched off."""
        deployment = self.target.deployment(format)
        backend = deployment.backend if deployment else ""
        return [*self.connection.answers_as(backend), self.connection.facts.get("cores"), self.threads]


def layer_times_on(
    connection: Connection, target: DeviceProfile, *, threads: int, listener: Listener = ignore
) -> LayerTimes | None:
    """What measures layers at `connection`; None where another machine plays the board, whose times say nothing."""
    return None if connection.emulated else MeasuredTimes(connection, target, threads, listener)
