"""Several devices at once: each measures its own arms, interleaved; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from edgecnn.core.errors import EdgecnnError
from edgecnn.core.events import Event, Finished, Started, Tell, Warned, under
from edgecnn.core.target import DeviceProfile
from edgecnn.measure.latency import Arm, Latency, measure
from edgecnn.measure.profiles import Profile
from edgecnn.measure.site import Site, visit


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that could not be measured on a device; `name` is None when nothing could be."""

    name: str | None
    error: EdgecnnError


@dataclass(slots=True)
class Taken:
    """What came of one device. `facts` are empty when it never answered; `copied_bytes` is what was sent there."""

    profile: DeviceProfile
    facts: Mapping[str, Any] = field(default_factory=dict)
    latencies: list[Latency] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    copied_bytes: int = 0


Planner = Callable[[DeviceProfile, Site], tuple[Sequence[Arm], Sequence[Failure]]]
"""What to measure on a device that has answered, and what it cannot run."""


def measure_fleet(
    profiles: Sequence[DeviceProfile], plan: Planner, *, profile: Profile, seed: int, tell: Tell
) -> list[Taken]:
    """Measure on every device, the devices side by side; results in their order.

    An error of a device or of an arm becomes a `Failure`. When the caller is interrupted, so is every job.
    """
    if len(profiles) == 1:
        return [_one(profiles[0], plan, profile=profile, seed=seed, tell=tell)]
    stop = threading.Event()
    told = _until(stop, tell)
    with ThreadPoolExecutor(len(profiles), thread_name_prefix="device") as pool:
        futures = [pool.submit(_one, device, plan, profile=profile, seed=seed, tell=told) for device in profiles]
        try:
            return [future.result() for future in futures]
        finally:
            stop.set()


def _one(device: DeviceProfile, plan: Planner, *, profile: Profile, seed: int, tell: Tell) -> Taken:
    taken = Taken(device)
    step = f"measure on {device.name}"
    began = time.monotonic()
    tell(Started(step))

    def failed(arm: Arm, error: EdgecnnError) -> None:
        taken.failures.append(Failure(arm.name, error))
        tell(Warned(error.code, f"{device.name}: {arm.name} was not measured: {error.message}", error.hint))

    try:
        with visit(device) as site:
            taken.facts = site.facts
            arms, refused = plan(device, site)
            taken.failures.extend(refused)
            taken.latencies = measure(
                arms,
                profile=profile,
                seed=seed,
                tell=under(step, tell),
                device=site.device,
                on_failure=failed,
                expect=device,
            )
            taken.copied_bytes = int(getattr(site.device, "copied_bytes", 0))
    except EdgecnnError as error:
        taken.failures.append(Failure(None, error))
    tell(Finished(step, time.monotonic() - began))
    return taken


def _until(stop: threading.Event, tell: Tell) -> Tell:
    """Pass events on until `stop`; then whoever tells one is interrupted, as by Ctrl-C."""
    lock = threading.Lock()

    def told(event: Event) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        with lock, contextlib.suppress(BrokenPipeError):
            tell(event)

    return told
