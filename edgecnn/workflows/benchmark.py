"""Benchmark: latency, load time and memory of model files, on this host or on boards, interleaved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.config.devices import load_device
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, ignore
from edgecnn.core.store import make_folder, write_atomically
from edgecnn.measure.candidates import batches_of, open_models, planner
from edgecnn.measure.effort import profile_named
from edgecnn.measure.fleet import DeviceResult, Failure, measure_fleet
from edgecnn.measure.latency import Latency
from edgecnn.measure.shapes import shapes_of
from edgecnn.report import benchmark as rows
from edgecnn.report.benchmark import table
from edgecnn.workflows.arguments import PathLike

SAMPLES_SCHEMA = "edgecnn.samples/1"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What came of each device. `sizes` are the bytes of each file by its sha256."""

    devices: tuple[DeviceResult, ...]
    sizes: Mapping[str, int]

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """Of every model on every device, in the order in which they were named."""
        return tuple(latency for one in self.devices for latency in one.latencies)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be measured."""
        return tuple(failure for one in self.devices for failure in one.failures)

    @property
    def exit_code(self) -> int:
        """0, or that of the last failure."""
        return self.failures[-1].error.exit_code if self.failures else 0

    def samples(self, name: str, device: str | None = None) -> np.ndarray:
        """Every raw latency of a model in ns, float64 (samples,), process after process. `device` is the first that
        measured the model unless given. Raises KeyError where nothing of the name was measured."""
        for one in self.devices:
            for latency in one.latencies:
                if latency.name == name and device in (None, one.profile.name):
                    return latency.samples_ns
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        return rows.to_dict(self.devices, self.sizes)

    def to_csv(self) -> str:
        return table.render(self.devices, self.sizes)


def benchmark(
    models: PathLike | Sequence[PathLike],
    *,
    device: str | Sequence[str] | None = None,
    profile: str = "quick",
    threads: int | None = None,
    batch: int | str = "1",
    shape: str | Sequence[str] | None = None,
    end_to_end: bool = False,
    backend: str | None = None,
    seed: int = 0,
    save_samples: PathLike | None = None,
    listener: Listener = ignore,
) -> Benchmark:
    """Measure models in fresh processes, interleaved, and compare them with the first.

    `shape` says the sizes of an input that a file leaves free, such as "input:1x3x320x320".
    Boards are measured side by side. A model or a device that fails is among `failures`, and the others are measured
    all the same. Raises InputError for arguments that make no sense, StepError when `save_samples` cannot be written.
    """
    names = [device] if isinstance(device, str) else list(device or ["host"])
    paths = [models] if isinstance(models, str | Path) else models
    effort = profile_named(profile)
    devices = [load_device(name) for name in names]
    _validate_distinct([one.name for one in devices])
    artifacts = open_models([Path(path) for path in paths])
    plan = planner(
        artifacts,
        backend=backend,
        threads=threads,
        batches=batches_of(str(batch)),
        shapes=shapes_of(shape),
        end_to_end=end_to_end,
        listener=listener,
    )
    taken = measure_fleet(devices, plan, profile=effort, seed=seed, listener=listener)
    if save_samples is not None:
        _save(Path(save_samples), taken)
    return Benchmark(tuple(taken), {artifact.sha256: artifact.size_bytes for artifact in artifacts})


def _validate_distinct(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("duplicate-device", f"{twice} is given twice", hint="name each device once")


def _save(path: Path, taken: Sequence[DeviceResult]) -> None:
    make_folder(path.parent)
    models = [{**latency.to_dict(), "device": one.profile.name} for one in taken for latency in one.latencies]
    write_atomically(path, json.dumps({"schema": SAMPLES_SCHEMA, "models": models}, allow_nan=False))
