"""Fit of a board and its profile: whether it is the one that the profile describes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.measure.checkup.diagnostic import DeviceUnderTest, Diagnostic
from edgecnn.measure.wire.answers import DeviceFacts

PC = ("x86_64", "amd64", "i386", "i686")
GB = 1e9
LEAST_SHARE = 0.72
"""Of the memory a board is sold with, that Linux may use: firmware and GPU keep some, a Zero 2 W a quarter."""


def validate_fit(raw_facts: Mapping[str, Any], profile: DeviceProfile) -> None:
    """Raise InputError device-misfit when the facts are those of another board than the profile's, naming the profile
    that does fit."""
    facts = DeviceFacts.read(raw_facts)
    if profile.local or profile.match is None or _fits(facts, profile) is not False:
        return
    from edgecnn.config.devices import list_devices

    others = (other for other in list_devices() if other.connect is None and other.name != profile.name)
    fitting = next((other for other in others if other.match and _fits(facts, other) == "board"), None)
    says = facts.board or ", ".join(facts.compatible) or f"a {facts.machine} PC"
    raise InputError(
        "device-misfit",
        f"{profile.name} is not the board that its profile describes",
        why=f"the profile is for {_expected(profile)}; the board says that it is {says}",
        hint=_way_out(profile, fitting, is_pc=_is_pc(facts)),
    )


def board(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """The board's own name against the profile's, and its memory, cores and instructions."""
    facts, profile = device.facts, device.profile
    name = facts.board or ", ".join(facts.compatible)
    if profile.match is None:
        yield Diagnostic("board", "ok", name or facts.cpu or facts.machine or "this machine")
    elif (fit := _fits(facts, profile)) == "board":
        yield Diagnostic("board", "ok", f"{name}: fits {profile.extends or profile.name}")
    elif fit == "chip":
        yield Diagnostic(
            "board", "warn", f"{name} has the chip of {profile.title}, but is another board: peaks may differ"
        )
    else:
        yield Diagnostic("board", "unknown", f"it does not say which board it is; {profile.title} is taken for granted")
    if profile.hardware is not None:
        yield from _memory(facts, profile)
        yield from _cores(facts, profile)
        yield from _instructions(facts, profile)


def _fits(facts: DeviceFacts, profile: DeviceProfile) -> str | bool | None:
    """`board` or `chip` for what is the same, False for another board, None when it does not say."""
    match, compatible, model = profile.match, facts.compatible, facts.board
    if match is None or not (compatible or model or _is_pc(facts)):
        return None
    if match.names(compatible, model):
        return "board"
    return "chip" if match.has_chip(compatible) and not _is_known(facts) else False


def _is_known(facts: DeviceFacts) -> bool:
    """Whether some shipped profile is for exactly this board."""
    from edgecnn.config.devices import list_devices

    compatible, model = facts.compatible, facts.board
    return any(other.match.names(compatible, model) for other in list_devices() if other.match and not other.connect)


def _is_pc(facts: DeviceFacts) -> bool:
    return (facts.machine or "").lower() in PC


def _expected(profile: DeviceProfile) -> str:
    match = profile.match
    assert match is not None
    return match.model or ", ".join(match.compatible) or str(match.soc)


def _way_out(profile: DeviceProfile, fitting: DeviceProfile | None, *, is_pc: bool) -> str:
    like = fitting.name if fitting else "host" if is_pc else None
    if like is None:
        return f"no profile is for this board: write `match: {{model: ...}}` into the file of {profile.name}"
    connect = profile.connect
    if connect is None:
        return f"take {like}"
    words = ["edgecnn devices add", profile.name, "--ssh", connect.ssh, "--like", like]
    if connect.python != "python3":
        words += ["--python", shlex.quote(connect.python)]
    if connect.config is not None:
        words += ["--config", shlex.quote(str(connect.config))]
    return " ".join([*words, "--force"])


def _memory(facts: DeviceFacts, profile: DeviceProfile) -> Iterator[Diagnostic]:
    total = facts.memory_bytes
    assert profile.hardware is not None
    sold = profile.hardware.memory.gb
    sizes = sold if isinstance(sold, tuple) else (sold,)
    if total is None:
        yield Diagnostic("memory-size", "unknown", "how much memory it has cannot be read")
    elif not any(LEAST_SHARE * size * GB <= total <= 1.1 * size * GB for size in sizes):
        known = " or ".join(f"{size:g}" for size in sizes)
        yield Diagnostic("memory-size", "warn", f"it has {total / GB:.1f} GB of memory; the profile says {known} GB")


def _cores(facts: DeviceFacts, profile: DeviceProfile) -> Iterator[Diagnostic]:
    usable = facts.usable_cores
    assert profile.hardware is not None
    expected = profile.hardware.cpu.cores
    mode = facts.power_mode or ""
    modes = [listed for known in (profile.power_modes, profile.power_modes_super) if (listed := known.get(mode))]
    if usable is not None and usable < expected and not any(listed.cores == usable for listed in modes):
        yield Diagnostic(
            "cores", "warn", f"{usable:g} of {expected} cores can be used", "cat /sys/devices/system/cpu/online"
        )


def _instructions(facts: DeviceFacts, profile: DeviceProfile) -> Iterator[Diagnostic]:
    assert profile.hardware is not None
    has = facts.isa
    if not has:
        yield Diagnostic("instructions", "unknown", "which instructions its processor has cannot be read")
    elif missing := [word for word in profile.hardware.cpu.isa if word not in has]:
        yield Diagnostic("instructions", "warn", f"its processor lacks {', '.join(missing)}, which the profile lists")
