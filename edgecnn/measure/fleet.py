"""Fleet of devices: each measures its own candidates, interleaved; one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.events import Event, Listener, Warned, scoped, timed
from edgecnn.measure.connection import Connection, connect
from edgecnn.measure.device import Device
from edgecnn.measure.effort import Profile
from edgecnn.measure.latency import Candidate, Latency, measure


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that could not be measured on a device; `name` is None when nothing could be."""

    name: str | None
    error: EdgecnnError


@dataclass(slots=True)
class DeviceResult:
    """What came of one device. `facts` are empty when it never answered; `copied_bytes` is what was sent there."""

    profile: DeviceProfile
    facts: Mapping[str, Any] = field(default_factory=dict)
    latencies: list[Latency] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    copied_bytes: int = 0


Planner = Callable[[DeviceProfile, Connection], tuple[Sequence[Candidate], Sequence[Failure]]]
"""What to measure on a device that has answered, and what it cannot run."""


def measure_fleet(
    profiles: Sequence[DeviceProfile], plan: Planner, *, profile: Profile, seed: int, listener: Listener
) -> list[DeviceResult]:
    """Measure on every device, the devices side by side; results in their order.

    An error of a device or of a candidate becomes a `Failure`. When the caller is interrupted, so is every job.
    """
    if len(profiles) == 1:
        return [_one(profiles[0], plan, profile=profile, seed=seed, listener=listener)]
    running = _RunningDevices()
    relay = running.relay(listener)
    with ThreadPoolExecutor(len(profiles), thread_name_prefix="device") as pool:
        work = partial(_one, plan=plan, profile=profile, seed=seed, listener=relay, on_open=running.add)
        futures = [pool.submit(work, device) for device in profiles]
        try:
            return [future.result() for future in futures]
        except BaseException:
            running.cancel()
            raise


def _one(
    device: DeviceProfile,
    plan: Planner,
    *,
    profile: Profile,
    seed: int,
    listener: Listener,
    on_open: Callable[[Device], None] = lambda device: None,
) -> DeviceResult:
    taken = DeviceResult(device)
    step = f"measure on {device.name}"

    def failed(candidate: Candidate, error: EdgecnnError) -> None:
        taken.failures.append(Failure(candidate.name, error))
        listener(Warned(error.code, f"{device.name}: {candidate.name} was not measured: {error.message}", error.hint))

    with timed(listener, step):
        try:
            with connect(device, on_open=on_open) as connection:
                taken.facts = connection.facts
                candidates, refused = plan(device, connection)
                taken.failures.extend(refused)
                taken.latencies = measure(
                    candidates,
                    profile=profile,
                    seed=seed,
                    listener=scoped(listener, step),
                    device=connection.device,
                    on_failure=failed,
                    expect=device,
                )
                taken.copied_bytes = int(getattr(connection.device, "copied_bytes", 0))
        except EdgecnnError as error:
            taken.failures.append(Failure(None, error))
    return taken


class _RunningDevices:
    """The devices that are at work, so that an interruption reaches them all."""

    def __init__(self) -> None:
        self._devices: list[Device] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def add(self, device: Device) -> None:
        with self._lock:
            self._devices.append(device)
        if self._stop.is_set():
            device.cancel()

    def cancel(self) -> None:
        self._stop.set()
        with self._lock:
            devices = list(self._devices)
        for device in devices:
            device.cancel()

    def relay(self, listener: Listener) -> Listener:
        """Pass events on, one at a time; none after an interruption."""

        def on_event(event: Event) -> None:
            with self._lock:
                if not self._stop.is_set():
                    listener(event)

        return on_event
