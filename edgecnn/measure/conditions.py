"""Conditions on the board: supply, heat, clocks, restarts, as reasons. What could not be read is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecnn.core.device import DeviceProfile, Throttle
from edgecnn.core.units import count
from edgecnn.measure.grade import Effect, Reason
from edgecnn.measure.process import Process
from edgecnn.measure.telemetry import Telemetry

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = (1 << bit for bit in range(4))
STICKY = 16
"""The bits of `vcgencmd get_throttled`: now, and sixteen higher the same since boot."""
OVER_CURRENT: dict[str, tuple[str, Effect, str]] = {
    "oc1": ("under-voltage", "invalid", "the supply voltage was too low"),
    "oc2": ("over-current", "invalid", "the board drew more current than it may on average"),
    "alarm": ("over-current", "invalid", "the kernel logged over-current alarms"),
    "oc3": ("over-current-instant", "degraded", "the board drew more current than it may at moments"),
}
"""What a count of a Jetson's `soctherm_oc` means."""
START_C, START_PC_C = 60.0, 80.0
"""Hotter than this a measurement should not begin; a PC runs hotter than a board."""
CLOCK_SHARE, LOW_READINGS = 0.97, 0.05
"""A clock below this share of what it should be, in more than this share of readings, is too low."""


def of_board(processes: Sequence[Process], *, expect: DeviceProfile | None, gpu: bool) -> list[Reason]:
    """Everything that the readings beside these processes say against their times; `gpu` when that is what works."""
    telemetry = [process.telemetry for process in processes]
    return [
        *_of_identity(processes),
        *_of_throttling(telemetry),
        *_of_counters(telemetry),
        *_of_clocks(telemetry, expect, gpu),
        *_of_temperature(processes, expect),
        *_of_power_mode(telemetry, expect),
        *_unread(processes, expect, gpu),
    ]


def _of_identity(processes: Sequence[Process]) -> Iterator[Reason]:
    if any(process.emulated for process in processes):
        yield Reason("emulated", "invalid", "emulated: times say nothing about the board")
    boots = {process.facts.get("boot_id") for process in processes}
    boots |= {reading.get("boot_id") for process in processes for reading in process.telemetry.everything()}
    if len(boots - {None}) > 1:
        yield Reason("rebooted", "invalid", "the machine rebooted meanwhile")
    kills = sum(_rise(process.telemetry, "oom_kills") for process in processes)
    if kills > 0:
        yield Reason(
            "oom-killed", "invalid", f"memory ran out meanwhile: the kernel ended {count(int(kills), 'process')}"
        )


def _of_throttling(telemetry: Sequence[Telemetry]) -> Iterator[Reason]:
    """From a Raspberry Pi's bits; one that was set before the process began proves nothing about it."""
    now = [_bits_now(one) for one in telemetry]
    fresh = [_bits_set(one) for one in telemetry]
    for mask, code, message in (
        (UNDER_VOLTAGE, "under-voltage", "the supply voltage was too low"),
        (CAPPED | THROTTLED, "throttled", "the firmware lowered the clock"),
    ):
        processes = sum(bool(bits & mask) for bits in now)
        if processes:
            yield Reason(code, "invalid", f"{message} in {_of(processes, telemetry)}")
    soft = sum(bool((bits | new) & SOFT_LIMIT) for bits, new in zip(now, fresh, strict=True))
    if soft:
        message = f"the board reached its soft temperature limit in {_of(soft, telemetry)}"
        yield Reason("soft-temperature-limit", "degraded", message)
    hard = UNDER_VOLTAGE | CAPPED | THROTTLED
    brief = sum(bool(new & hard & ~bits) for bits, new in zip(now, fresh, strict=True))
    if brief:
        message = f"the firmware noted low voltage or throttling between two readings in {_of(brief, telemetry)}"
        yield Reason("throttle-history", "degraded", message)


def _bits_now(one: Telemetry) -> int:
    bits = 0
    for reading in one.everything():
        bits |= int(reading.get("throttled", 0)) & (1 << STICKY) - 1
    return bits


def _bits_set(one: Telemetry) -> int:
    """The since-boot bits that appeared between before and after, moved down to their places among the others."""
    if "throttled" not in one.before or "throttled" not in one.after:
        return 0
    return int(one.after["throttled"] & ~one.before["throttled"]) >> STICKY


def _of_counters(telemetry: Sequence[Telemetry]) -> Iterator[Reason]:
    for name, (code, effect, message) in OVER_CURRENT.items():
        rises = [_counted(one, name) for one in telemetry]
        if any(rises):
            events = count(int(sum(rises)), "event")
            processes = sum(rise > 0 for rise in rises)
            yield Reason(code, effect, f"{message}: {events} ({name}) in {_of(processes, telemetry)}")


def _counted(one: Telemetry, name: str) -> float:
    before, after = (reading.get("oc_counts", {}).get(name) for reading in (one.before, one.after))
    return max(0.0, after - before) if before is not None and after is not None else 0.0


def _of_clocks(telemetry: Sequence[Telemetry], expect: DeviceProfile | None, gpu: bool) -> list[Reason]:
    name, wanted_mhz = "gpu" if gpu else "cpu", _wanted_mhz(telemetry, expect, gpu)
    readings = [mhz for one in telemetry for mhz in one.during(f"{name}_mhz")]
    if wanted_mhz is None or not readings:
        return []
    reasons = []
    low = sum(mhz < CLOCK_SHARE * wanted_mhz for mhz in readings)
    if low > LOW_READINGS * len(readings):
        message = (
            f"the {name.upper()} ran below {CLOCK_SHARE:.0%} of {wanted_mhz:.0f} MHz in {low} of "
            f"{count(len(readings), 'reading')}, at {min(readings):.0f} MHz at worst"
        )
        reasons.append(Reason("clock-low", "invalid", message))
    should_mhz = _profile_mhz(telemetry, expect, gpu)
    if should_mhz is not None and not _modes(expect) and wanted_mhz < CLOCK_SHARE * should_mhz:
        message = f"the {name.upper()} is limited to {wanted_mhz:.0f} of {should_mhz:.0f} MHz"
        reasons.append(Reason("clock-capped", "degraded", message))
    return reasons


def _wanted_mhz(telemetry: Sequence[Telemetry], expect: DeviceProfile | None, gpu: bool) -> float | None:
    """What the clock should be: where it is locked, or the profile's as far as the board allows it; None where nobody
    says."""
    key = "gpu_max_mhz" if gpu else "cpu_max_mhz"
    allowed_mhz = max((one.before[key] for one in telemetry if key in one.before), default=None)
    if allowed_mhz is not None and all(one.before.get("clocks_locked") for one in telemetry):
        return float(allowed_mhz)
    should_mhz = _profile_mhz(telemetry, expect, gpu)
    if should_mhz is None or allowed_mhz is None:
        return should_mhz
    return min(should_mhz, float(allowed_mhz))


def _profile_mhz(telemetry: Sequence[Telemetry], expect: DeviceProfile | None, gpu: bool) -> float | None:
    """The clock of the power mode the board is in, or else the greatest of its hardware."""
    if expect is None or expect.hardware is None:
        return None
    for one in telemetry:
        mode = _modes(expect).get(_mode_name(one.before.get("power_mode")))
        mhz = (mode[1] if gpu else mode[0]) if mode is not None else None
        if mhz is not None:
            return mhz
    processor = expect.hardware.gpu if gpu else expect.hardware.cpu
    return processor.max_mhz if processor is not None else None


def _of_temperature(processes: Sequence[Process], expect: DeviceProfile | None) -> list[Reason]:
    limit_c = _start_limit_c(processes, expect)
    starts = [p.telemetry.before["temperature_c"] for p in processes if "temperature_c" in p.telemetry.before]
    hot = [celsius for celsius in starts if celsius > limit_c]
    if not hot:
        return []
    message = f"{_of(len(hot), processes)} began hotter than {limit_c:.0f} C, at {max(hot):.0f} C at worst"
    return [Reason("hot-start", "degraded", message)]


def _start_limit_c(processes: Sequence[Process], expect: DeviceProfile | None) -> float:
    """Below the board's own limits there must be room for the measurement."""
    if expect is None or expect.hardware is None:
        return START_C if any(process.facts.get("board") for process in processes) else START_PC_C
    limits = [START_C]
    if expect.thermal is not None:
        limits += [limit - 5.0 for limit in (expect.thermal.soft_limit_c,) if limit is not None]
        limits += [limit - 15.0 for limit in (expect.thermal.throttle_c,) if limit is not None]
    return min(limits)


def _of_power_mode(telemetry: Sequence[Telemetry], expect: DeviceProfile | None) -> list[Reason]:
    modes = {str(reading["power_mode"]) for one in telemetry for reading in one.everything() if "power_mode" in reading}
    if len(modes) > 1:
        return [Reason("power-mode", "degraded", f"the power mode changed: {', '.join(sorted(modes))}")]
    known = _modes(expect)
    if modes and known and not {_mode_name(name) for name in modes} & set(known):
        message = f"power mode {modes.pop()} is not one of the board's: {', '.join(known)}"
        return [Reason("power-mode", "degraded", message)]
    if known and not modes:
        return [Reason("power-mode-unread", "unknown", "the power mode could not be read")]
    return []


def _modes(expect: DeviceProfile | None) -> dict[str, tuple[float | None, float | None]]:
    """CPU and GPU clock, MHz, of each power mode by its name; of a mode that is there twice, the Super one's."""
    if expect is None:
        return {}
    both = {**expect.power_modes, **expect.power_modes_super}
    return {_mode_name(name): (mode.cpu_mhz, mode.gpu_mhz) for name, mode in both.items()}


def _mode_name(name: object) -> str:
    """`MODE_30W` and `30W` are one."""
    return str(name or "").upper().removeprefix("MODE_")


def _unread(processes: Sequence[Process], expect: DeviceProfile | None, gpu: bool) -> list[Reason]:
    """What the profile says can be read, and was not."""
    if expect is None:
        return []
    telemetry = [process.telemetry for process in processes]
    reasons = []
    if expect.thermal is not None and not all("temperature_c" in {**one.before, **one.after} for one in telemetry):
        reasons.append(Reason("temperature-unread", "unknown", "the temperature could not be read"))
    blind = [source for source in expect.throttle if not all(_was_read(one, source) for one in telemetry)]
    if blind:
        reasons.append(Reason("throttle-unread", "unknown", f"throttling could not be read ({', '.join(blind)})"))
    clocks = [one.during("gpu_mhz" if gpu else "cpu_mhz") for one in telemetry]
    governed = all(process.facts.get("governor") for process in processes)
    if expect.hardware is not None and governed and not all(clocks):
        reasons.append(Reason("clocks-unread", "unknown", f"{'GPU' if gpu else 'CPU'} clocks could not be read"))
    return reasons


def _was_read(one: Telemetry, source: Throttle) -> bool:
    """Before and after; a board that only has its frequencies is looked at through them.

    A since-boot bit of a Raspberry Pi that was set before tells nothing any more: then the bits of now must have been
    seen meanwhile.
    """
    if source == "vcgencmd":
        tells = not int(one.before.get("throttled", 0)) >> STICKY or bool(one.during("throttled"))
        return "throttled" in one.before and "throttled" in one.after and tells
    counts = [set(reading.get("oc_counts", {})) for reading in (one.before, one.after)]
    if source == "soctherm_oc":
        return all(names - {"alarm"} for names in counts)
    return source == "frequency" or all("alarm" in names for names in counts)


def _rise(one: Telemetry, key: str) -> float:
    return float(one.after[key] - one.before[key]) if key in one.before and key in one.after else 0.0


def _of(seen: int, all_of: Sequence[object]) -> str:
    return f"{seen} of {count(len(all_of), 'process')}"
