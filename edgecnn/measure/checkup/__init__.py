"""Checkup of a device: what it says of itself, judged against its profile, and the commands that mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.events import Listener, Progress, ignore, timed
from edgecnn.core.third_party import sanitize
from edgecnn.measure.checkup import fit, software, state
from edgecnn.measure.checkup.diagnostic import ClockOffset, DeviceUnderTest, Diagnostic, Level
from edgecnn.measure.checkup.fit import validate_fit
from edgecnn.measure.device import Device
from edgecnn.measure.wire.answers import DeviceFacts
from edgecnn.measure.wire.events import clean_facts

__all__ = ["DeviceCheckup", "ClockOffset", "Diagnostic", "Level", "check", "examine", "validate_fit"]

LIMIT_S = 900.0
"""Six runtimes are tried, one after the other, on what may be a slow board."""
CHECKS: tuple[Callable[[DeviceUnderTest], Iterable[Diagnostic]], ...] = (
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
class DeviceCheckup:
    """What the board said, cut to size, and what is to be thought of it."""

    facts: Mapping[str, Any]
    findings: tuple[Diagnostic, ...]

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


def check(device: Device, profile: DeviceProfile, *, listener: Listener = ignore) -> DeviceCheckup:
    """Ask a device everything and judge it; seconds to a minute.

    Raises InputError device-misfit when it is another board than the profile's, and what `Device.run` raises.
    """
    step = f"check {profile.name}"
    job = {"verb": "check", **({"folder": profile.connect.folder} if profile.connect else {})}

    def on_event(event: Mapping[str, Any]) -> None:
        done, total = event.get("done"), event.get("total")
        if event.get("event") == "progress" and isinstance(done, int) and isinstance(total, int):
            listener(Progress(step, done, total, note=f"try {sanitize(event.get('note'), 40)}"))

    with timed(listener, step):
        before = time.time()
        answer = device.run(job, files={}, outputs={}, on_event=on_event, timeout_s=LIMIT_S)
        after = time.time()
        facts = clean_facts(answer.get("facts"))
        validate_fit(facts, profile)
    return DeviceCheckup(facts, examine(facts, profile, host_s=(before, after)))


def examine(
    facts: Mapping[str, Any], profile: DeviceProfile, *, host_s: tuple[float, float] | None = None
) -> tuple[Diagnostic, ...]:
    """Every diagnostic. `host_s` is this host's clock before and after the board was asked, in Unix seconds."""
    known = DeviceFacts.read(facts)
    began, ended = known.time_s, known.time_end_s
    offset = ClockOffset.between(host_s, (began, ended)) if host_s and began is not None and ended is not None else None
    device = DeviceUnderTest(known, profile, offset)
    return tuple(diagnostic for check in CHECKS for diagnostic in check(device))
