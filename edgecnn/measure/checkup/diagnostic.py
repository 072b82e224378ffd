"""Diagnostic of a checkup: what was looked at, its level, and what to type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.core.device import DeviceProfile
from edgecnn.measure.wire.answers import DeviceFacts

Level = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that was looked at: fine, doubtful, in the way of every measurement, or not to be read.

    `command` is typed on the board, a line after the other; a line `python: ...` goes into the device's file.
    """

    code: str
    level: Level
    message: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far the board's clock is ahead, and by how much that may be wrong, seconds."""

    ahead_s: float
    within_s: float

    @classmethod
    def between(cls, host: tuple[float, float], board: tuple[float, float]) -> ClockOffset:
        """From the times before and after on both, as NTP does (RFC 5905, 8): what the way took lies in between."""
        ahead = ((board[0] - host[0]) + (board[1] - host[1])) / 2
        way = (host[1] - host[0]) - (board[1] - board[0])
        return cls(ahead, max(0.0, way / 2))


@dataclass(frozen=True, slots=True)
class DeviceUnderTest:
    """What a device says of itself, what its profile expects, and how far its clock is off where that is known."""

    facts: DeviceFacts
    profile: DeviceProfile
    clock: ClockOffset | None = None
