"""Is a board fit to be measured on? What it says of itself, judged against its profile, and what to type."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.events import Finished, Listener, Progress, Started, ignore
from edgecnn.measure.checkup import fit, software, state
from edgecnn.measure.checkup.finding import Clock, Finding, Level, Seen
from edgecnn.measure.checkup.fit import refuse_misfit
from edgecnn.measure.device import Device
from edgecnn.measure.telemetry import plain
from edgecnn.measure.untrusted import Untrusted

__all__ = ["Checkup", "Clock", "Finding", "Level", "check", "examine", "refuse_misfit"]

LIMIT_S = 900.0
"""Six runtimes are tried, one after the other, on what may be a slow board."""
LOOKS: tuple[Callable[[Seen], Iterable[Finding]], ...] = (
    fit.board,
    state.emulation,
    software.system,
    software.runtimes,
    state.clocks,
    state.power_mode,
    state.temperature,
    state.throttling,
    state.load,
    state.room,
    state.clock_skew,
)


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the board said, cut to size, and what is to be thought of it."""

    facts: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether at least one deployment of the profile can run."""
        return all(finding.level != "fail" for finding in self.findings)

    def commands(self) -> list[str]:
        """What to type, each command once."""
        return list(dict.fromkeys(finding.command for finding in self.findings if finding.command))

    def to_dict(self) -> dict[str, Any]:
        return {
            "usable": self.usable,
            "facts": dict(self.facts),
            "findings": [asdict(finding) for finding in self.findings],
        }


def check(device: Device, profile: DeviceProfile, *, listener: Listener = ignore) -> Checkup:
    """Ask a device everything and judge it; seconds to a minute.

    Raises InputError device-misfit when it is another board than the profile's, and what `Device.run` raises.
    """
    step = f"check {profile.name}"
    listener(Started(step))
    job = {"verb": "check", **({"folder": profile.connect.folder} if profile.connect else {})}

    def on_event(event: Mapping[str, Any]) -> None:
        done, total = event.get("done"), event.get("total")
        if event.get("event") == "progress" and isinstance(done, int) and isinstance(total, int):
            listener(Progress(step, done, total, note=f"try {plain(event.get('note'))[:40]}"))

    began, before = time.monotonic(), time.time()
    answer = device.run(job, files={}, outputs={}, on_event=on_event, timeout_s=LIMIT_S)
    after = time.time()
    told = Untrusted(answer.get("facts"))
    refuse_misfit(told.plain(), profile)
    listener(Finished(step, time.monotonic() - began))
    return Checkup(told.plain(), examine(told.plain(), profile, host_s=(before, after)))


def examine(
    facts: Mapping[str, Any], profile: DeviceProfile, *, host_s: tuple[float, float] | None = None
) -> tuple[Finding, ...]:
    """Every finding. `host_s` is this host's clock before and after the board was asked, in Unix seconds."""
    told = Untrusted(facts)
    began, ended = told.number("time_s"), told.number("time_end_s")
    clock = Clock.between(host_s, (began, ended)) if host_s and began is not None and ended is not None else None
    seen = Seen(told, profile, clock)
    return tuple(finding for look in LOOKS for finding in look(seen))
