"""Whether the board is the one that its profile describes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.measure.checkup.finding import Finding, Seen
from edgecnn.measure.untrusted import Untrusted

PC = ("x86_64", "amd64", "i386", "i686")
GB = 1e9
LEAST_SHARE = 0.72
"""Of the memory a board is sold with, that Linux may use: firmware and GPU keep some, a Zero 2 W a quarter."""


def refuse_misfit(facts: Mapping[str, Any], profile: DeviceProfile) -> None:
    """Raise InputError device-misfit when the facts are those of another board than the profile's, naming the profile
    that does fit."""
    told = Untrusted(facts)
    if profile.local or profile.match is None or _fits(told, profile) is not False:
        return
    from edgecnn.config.devices import list_devices

    others = (other for other in list_devices() if other.connect is None and other.name != profile.name)
    fitting = next((other for other in others if other.match and _fits(told, other) == "board"), None)
    says = told.text("board") or ", ".join(told.texts("compatible")) or f"a {told.text('machine')} PC"
    raise InputError(
        "device-misfit",
        f"{profile.name} is not the board that its profile describes",
        why=f"the profile is for {_expected(profile)}; the board says that it is {says}",
        hint=_way_out(profile, fitting, is_pc=_is_pc(told)),
    )


def board(seen: Seen) -> Iterator[Finding]:
    """The board's own name against the profile's, and its memory, cores and instructions."""
    told, profile = seen.facts, seen.profile
    name = told.text("board") or ", ".join(told.texts("compatible"))
    if profile.match is None:
        yield Finding("board", "ok", name or told.text("cpu") or told.text("machine") or "this machine")
    elif (fit := _fits(told, profile)) == "board":
        yield Finding("board", "ok", f"{name}: fits {profile.extends or profile.name}")
    elif fit == "chip":
        yield Finding(
            "board", "warn", f"{name} has the chip of {profile.title}, but is another board: peaks may differ"
        )
    else:
        yield Finding("board", "unknown", f"it does not say which board it is; {profile.title} is taken for granted")
    if profile.hardware is not None:
        yield from _memory(told, profile)
        yield from _cores(told, profile)
        yield from _instructions(told, profile)


def _fits(told: Untrusted, profile: DeviceProfile) -> str | bool | None:
    """`board` or `chip` for what is the same, False for another board, None when it does not say."""
    match, compatible, model = profile.match, told.texts("compatible"), told.text("board")
    if match is None or not (compatible or model or _is_pc(told)):
        return None
    if match.names(compatible, model):
        return "board"
    return "chip" if match.has_chip(compatible) and not _is_known(told) else False


def _is_known(told: Untrusted) -> bool:
    """Whether some shipped profile is for exactly this board."""
    from edgecnn.config.devices import list_devices

    compatible, model = told.texts("compatible"), told.text("board")
    return any(other.match.names(compatible, model) for other in list_devices() if other.match and not other.connect)


def _is_pc(told: Untrusted) -> bool:
    return (told.text("machine") or "").lower() in PC


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


def _memory(told: Untrusted, profile: DeviceProfile) -> Iterator[Finding]:
    total = told.number("memory_bytes")
    assert profile.hardware is not None
    sold = profile.hardware.memory.gb
    sizes = sold if isinstance(sold, tuple) else (sold,)
    if total is None:
        yield Finding("memory-size", "unknown", "how much memory it has cannot be read")
    elif not any(LEAST_SHARE * size * GB <= total <= 1.1 * size * GB for size in sizes):
        known = " or ".join(f"{size:g}" for size in sizes)
        yield Finding("memory-size", "warn", f"it has {total / GB:.1f} GB of memory; the profile says {known} GB")


def _cores(told: Untrusted, profile: DeviceProfile) -> Iterator[Finding]:
    usable = told.number("usable_cores")
    assert profile.hardware is not None
    expected = profile.hardware.cpu.cores
    mode = told.text("power_mode") or ""
    modes = [found for known in (profile.power_modes, profile.power_modes_super) if (found := known.get(mode))]
    if usable is not None and usable < expected and not any(found.cores == usable for found in modes):
        yield Finding(
            "cores", "warn", f"{usable:g} of {expected} cores can be used", "cat /sys/devices/system/cpu/online"
        )


def _instructions(told: Untrusted, profile: DeviceProfile) -> Iterator[Finding]:
    assert profile.hardware is not None
    has = told.texts("isa")
    if not has:
        yield Finding("instructions", "unknown", "which instructions its processor has cannot be read")
    elif missing := [word for word in profile.hardware.cpu.isa if word not in has]:
        yield Finding("instructions", "warn", f"its processor lacks {', '.join(missing)}, which the profile lists")
