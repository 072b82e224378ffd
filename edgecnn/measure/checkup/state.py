"""State of a board: what would make its times slow, unsteady, or about something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgecnn.measure.checkup.diagnostic import DeviceUnderTest, Diagnostic, Level
from edgecnn.measure.wire.answers import DeviceFacts

START_MAX_C = 60.0
BUSY_SHARE = 0.3
"""Load average of the last minute per core."""
SKEW_S = 2.0
MIB = 1 << 20
LEAST_DISK, LITTLE_DISK, LITTLE_MEMORY = 64 * MIB, 1024 * MIB, 200 * MIB
PERFORMANCE = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
SUPPLY = "use the power supply that is made for this board, and a short cable"
UNDER_VOLTAGE = 1
BITS = {1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Of `vcgencmd get_throttled`, now; 16 higher: since boot. Source: Raspberry Pi documentation."""
OC = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}


def emulation(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    if device.facts.emulated:
        yield Diagnostic("emulated", "warn", "QEMU plays this board: its times say nothing about the real one")
    elif device.facts.emulated is None and not device.profile.local:
        yield Diagnostic("emulated", "unknown", "whether it is emulated cannot be told")


def clocks(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """The governor, and the clock that the processor may reach."""
    facts = device.facts
    governors, policies = facts.governors, facts.cpu_policies
    locked = bool(policies) and all(one.min is not None and one.min == one.max for one in policies.values())
    if not governors:
        yield Diagnostic("governor", "unknown", "who sets the processor's clock cannot be read")
    elif locked or governors == ["performance"]:
        yield Diagnostic("governor", "ok", f"governor {', '.join(governors)}{', clocks locked' if locked else ''}")
    else:
        command = "sudo jetson_clocks" if facts.l4t is not None else PERFORMANCE
        yield Diagnostic("governor", "warn", f"governor {', '.join(governors)}: the clock follows the load", command)
    now, most = (facts.cpu_mhz.now, facts.cpu_mhz.max) if facts.cpu_mhz else (None, None)
    capped = [
        name
        for name, one in policies.items()
        if (allowed := one.max) and (hardware := one.hardware_max) and allowed < 0.98 * hardware
    ]
    expected = device.profile.hardware.cpu.max_mhz if device.profile.hardware else None
    if most is None:
        yield Diagnostic("clocks", "unknown", "the processor's clock cannot be read")
    elif capped and facts.power_mode is None:
        command = "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"
        yield Diagnostic("clocks", "warn", f"the clock of {', '.join(capped)} is kept below what it can do", command)
    elif expected is not None and most < 0.97 * expected:
        yield Diagnostic(
            "clocks", "warn", f"at most {most:.0f} MHz; the profile says {expected:.0f}: its peaks are too high"
        )
    else:
        yield Diagnostic("clocks", "ok", f"{now:.0f} of {most:.0f} MHz" if now is not None else f"up to {most:.0f} MHz")


def power_mode(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """The mode of nvpmodel by its name, for its number means another mode on another board."""
    facts, profile = device.facts, device.profile
    if not profile.power_modes and not facts.power_modes:
        return
    mode = facts.power_mode
    if mode is None:
        yield Diagnostic("power-mode", "unknown", "its power mode cannot be read", "sudo nvpmodel -q")
        return
    known = {**profile.power_modes, **profile.power_modes_super}
    best = fastest(facts.power_modes or list(known))
    default = facts.power_mode_default or next((name for name, one in known.items() if one.default), None)
    restart = any(known[name].reboot for name in (mode, best) if name in known)
    number = facts.power_mode_ids.get(best)
    command = f"sudo nvpmodel -m {number:.0f}" if number is not None else "grep POWER_MODEL /etc/nvpmodel.conf"
    if mode == best:
        yield Diagnostic("power-mode", "ok", f"power mode {mode}, the fastest")
    elif mode == default:
        yield Diagnostic("power-mode", "ok", f"power mode {mode}, the default ({best} is faster: {command})")
    else:
        what = f"power mode {mode} is neither the fastest ({best}) nor the default ({default or 'unknown'})"
        asks = "; it wants a restart, and asks for one on a terminal only" if restart else ""
        yield Diagnostic("power-mode", "warn", what + asks, command)


def fastest(modes: Sequence[str]) -> str:
    """MAXN_SUPER, else MAXN, else the most watts, and of those the most cores."""

    def rank(name: str) -> tuple[int, int, int]:
        watts, cores = re.search(r"(\d{1,4})W", name), re.search(r"(\d{1,3})CORE", name)
        return (
            2 if name == "MAXN_SUPER" else 1 if name.startswith("MAXN") else 0,
            int(watts[1]) if watts else 0,
            int(cores[1]) if cores else 0,
        )

    return max(modes, key=rank)


def temperature(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    zones = {name: c for name, c in device.facts.temperatures_c.items() if "pmic" not in name.lower()}
    if not zones:
        yield Diagnostic("temperature", "unknown", "no temperature can be read")
        return
    zone, hottest = max(zones.items(), key=lambda item: item[1])
    thermal = device.profile.thermal
    limit = f"; it slows down at {thermal.throttle_c:g}" if thermal and thermal.throttle_c else ""
    if hottest > START_MAX_C:
        word = f"{hottest:.1f} °C ({zone}), hotter than {START_MAX_C:g} to start with{limit}: let it cool, or fit a fan"
        yield Diagnostic("temperature", "warn", word)
    else:
        yield Diagnostic("temperature", "ok", f"{hottest:.1f} °C ({zone}){limit}")


def throttling(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """What slows the board down now, and what has since it started."""
    if "vcgencmd" in device.profile.throttle or device.facts.throttled is not None:
        yield from _firmware(device.facts)
    if "soctherm_oc" in device.profile.throttle:
        yield from _over_current(device.facts)


def _firmware(facts: DeviceFacts) -> Iterator[Diagnostic]:
    bits = facts.throttled
    if bits is None:
        command = "sudo usermod -aG video $USER   # then log in again"
        yield Diagnostic("throttling", "unknown", "vcgencmd does not answer: is this user in the group video?", command)
        return
    now = [word for bit, word in BITS.items() if bits & 1 << bit]
    before = [word for bit, word in BITS.items() if bits & 1 << bit + 16]
    if bits & (UNDER_VOLTAGE | UNDER_VOLTAGE << 16):
        when = "now" if bits & UNDER_VOLTAGE else "since it started"
        yield Diagnostic("under-voltage", "warn", f"under-voltage {when}: {SUPPLY}")
    if now:
        yield Diagnostic("throttling", "warn", f"now: {', '.join(now)}")
    if before:
        word = f"since it started: {', '.join(before)}; only a restart forgets that"
        yield Diagnostic("throttle-history", "warn", word, "sudo reboot")
    if not bits & 0xF000F:
        yield Diagnostic("throttling", "ok", "not throttled, nor since it started")


def _over_current(facts: DeviceFacts) -> Iterator[Diagnostic]:
    counts = {name: count for name, count in facts.oc_counts.items() if name in OC}
    events = [f"{count:.0f} x {OC[name]} ({name})" for name, count in counts.items() if count > 0]
    if not counts:
        yield Diagnostic("throttling", "unknown", "its over-current counters cannot be read")
    elif events:
        yield Diagnostic("throttle-history", "warn", f"since it started: {', '.join(events)}: {SUPPLY}")
    else:
        yield Diagnostic("throttling", "ok", "no over-current since it started")


def room(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """Free disk where edgecnn keeps its files, and free memory."""
    disk, memory = device.facts.disk_free_bytes, device.facts.memory_available_bytes
    if disk is None:
        yield Diagnostic("disk", "unknown", "how much room its disk has cannot be read")
    elif disk < LITTLE_DISK:
        level: Level = "fail" if disk < LEAST_DISK else "warn"
        yield Diagnostic("disk", level, f"{disk / MIB:.0f} MiB are free", "sudo apt clean; du -xhd1 ~ | sort -h")
    else:
        yield Diagnostic("disk", "ok", f"{disk / 2**30:.1f} GiB are free")
    if memory is None:
        yield Diagnostic("memory", "unknown", "how much memory is free cannot be read")
    elif memory < LITTLE_MEMORY:
        command = "sudo systemctl isolate multi-user.target   # ends the desktop"
        yield Diagnostic("memory", "warn", f"{memory / MIB:.0f} MiB of memory are free", command)
    else:
        yield Diagnostic("memory", "ok", f"{memory / 2**30:.1f} GiB of memory are free")


def load(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    averages, cores = device.facts.loadavg, device.facts.usable_cores or 1
    first = averages[0] if averages else None
    if first is None:
        yield Diagnostic("load", "unknown", "how busy it is cannot be read")
    elif first > BUSY_SHARE * cores:
        yield Diagnostic(
            "load", "warn", f"busy: a load of {first:.1f} on {cores:g} cores in the last minute", "top -o %CPU"
        )
    else:
        yield Diagnostic("load", "ok", f"idle: a load of {first:.1f} on {cores:g} cores in the last minute")


def clock_skew(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    if device.profile.local:
        return
    if device.clock is None:
        yield Diagnostic("clock-skew", "unknown", "its clock cannot be read")
        return
    ahead, within = device.clock.ahead_s, device.clock.within_s
    if within > SKEW_S and abs(ahead) - within <= SKEW_S:
        word = f"its clock is right within {abs(ahead) + within:.1f} s; a slow connection tells no more"
        yield Diagnostic("clock-skew", "unknown", word)
    elif abs(ahead) > SKEW_S:
        word = f"its clock is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}, within {within:.1f} s"
        yield Diagnostic("clock-skew", "warn", f"{word}: times in its logs are off", "sudo timedatectl set-ntp true")
    else:
        yield Diagnostic("clock-skew", "ok", f"its clock is right within {abs(ahead) + within:.1f} s")
