"""What a board says of itself, judged: each finding comes with what mends it, and nothing unread passes for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_facts import GIB, MISSING, ORIN, PI5, judged

from edgecnn.config.devices import load_device
from edgecnn.core.device import DeviceProfile
from edgecnn.measure.checkup import ClockOffset, examine
from edgecnn.measure.checkup.state import fastest


def test_a_board_in_good_order(pi: DeviceProfile, orin: DeviceProfile) -> None:
    for profile, facts in ((pi, PI5), (orin, {**ORIN, "governors": ["performance"], "power_mode": "MAXN_SUPER"})):
        findings = judged(profile, facts)
        assert {finding.level for finding in findings.values()} == {"ok"}, findings
        assert not any(finding.command for finding in findings.values())


FAULTS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "the governor follows the load": (
        {"governors": ["ondemand"]},
        "governor",
        "warn",
        "ondemand",
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    ),
    "hot": ({"temperatures_c": {"cpu-thermal": 71.5, "pmic": 100}}, "temperature", "warn", "71.5", ""),
    "under-voltage now": ({"throttled": 0x50005}, "under-voltage", "warn", "now: use the power supply", ""),
    "under-voltage before": ({"throttled": 0x10000}, "under-voltage", "warn", "since it started", ""),
    "throttled before": (
        {"throttled": 0xE0000},
        "throttle-history",
        "warn",
        "clock capped, throttled, soft temperature limit",
        "sudo reboot",
    ),
    "throttled now": ({"throttled": 0x40004}, "throttling", "warn", "now: throttled", ""),
    "vcgencmd not allowed": ({"throttled": None}, "throttling", "unknown", "video", "sudo usermod -aG video $USER"),
    "little disk": ({"disk_free_bytes": 200 << 20}, "disk", "warn", "200 MiB", "sudo apt clean"),
    "no disk": ({"disk_free_bytes": 1 << 20}, "disk", "fail", "1 MiB", "sudo apt clean"),
    "little memory": ({"memory_available_bytes": 90 << 20}, "memory", "warn", "90 MiB", "multi-user.target"),
    "busy": ({"loadavg": [3.5, 1, 1]}, "load", "warn", "3.5 on 4 cores", "top"),
    "clock ahead": (
        {"time_s": 4e9, "time_end_s": 4e9},
        "clock-skew",
        "warn",
        "s ahead",
        "ntp",
    ),
    "clock behind": ({"time_s": 1e9, "time_end_s": 1e9}, "clock-skew", "warn", "s behind", "sudo timedatectl"),
    "no clock": ({"time_s": None}, "clock-skew", "unknown", "cannot be read", ""),
    "emulated": ({"emulated": True}, "emulated", "warn", "times say nothing", ""),
    "32 bit": ({"bits": 32}, "os", "warn", "32 bit", "rpi-imager"),
    "another Pi with the chip": (
        {"board": "Raspberry Pi 500 Rev 1.0", "compatible": ["raspberrypi,500", "brcm,bcm2712"]},
        "board",
        "warn",
        "another board",
        "",
    ),
    "no name": ({"board": None, "compatible": None}, "board", "unknown", "does not say", ""),
    "other memory": ({"memory_bytes": 30 * GIB}, "memory-size", "warn", "32.2 GB", ""),
    "fewer cores": ({"usable_cores": 2}, "cores", "warn", "2 of 4", "cat /sys/devices/system/cpu/online"),
    "slower": ({"cpu_mhz": {"now": 1500, "max": 1500}}, "clocks", "warn", "1500 MHz; the profile says 2400", ""),
    "an instruction less": ({"isa": ["asimd"]}, "instructions", "warn", "lacks dotprod, fp16", ""),
    "a new Python": ({"python": "3.15.0"}, "python", "warn", "no runtime is made for it", ""),
    "an old Python": ({"python": "3.7.3"}, "python", "fail", "3.8 is the oldest", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_with_what_mends_it(pi: DeviceProfile, fault: str) -> None:
    changes, code, level, says, command = FAULTS[fault]
    found = judged(pi, PI5, **changes)[code]
    assert found.level == level
    assert says in found.message
    assert command in found.command
    assert bool(command) == bool(found.command)


def test_what_is_not_told_is_unknown_never_fine(pi: DeviceProfile, orin: DeviceProfile) -> None:
    for profile in (pi, orin):
        levels = {finding.level for finding in examine({}, profile)}
        assert levels == {"unknown"}


JETSON_FAULTS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "the default mode": ({}, "power-mode", "ok", "MAXN_SUPER is faster: sudo nvpmodel -m 2", ""),
    "a slow mode": ({"power_mode": "15W"}, "power-mode", "warn", "neither the fastest", "sudo nvpmodel -m 2"),
    "an unread mode": ({"power_mode": None}, "power-mode", "unknown", "cannot be read", "sudo nvpmodel -q"),
    "clocks not locked": ({}, "governor", "warn", "schedutil", "sudo jetson_clocks"),
    "over-current": ({"oc_counts": {"oc3": 12}}, "throttle-history", "warn", "12 x instantaneous over-current", ""),
    "no counters": ({"oc_counts": {}}, "throttling", "unknown", "cannot be read", ""),
    "a JetPack beyond": ({"jetpack": "8.0", "l4t": "40.1.0"}, "jetpack", "warn", "the profile knows 5.1.1 to 7.2", ""),
    "an unknown JetPack": ({"jetpack": None, "l4t": "36.9.9"}, "jetpack", "unknown", "L4T 36.9.9", "nv_tegra_release"),
    "no trtexec": (
        {"tensorrt": {"trtexec": None, "error": "there is none"}},
        "runtime-tensorrt",
        "warn",
        "there is none",
        "nvidia-jetpack",
    ),
    "no bindings": (
        {"runtimes": {**ORIN["runtimes"], "tensorrt": MISSING}},
        "tensorrt-python",
        "warn",
        "accuracy needs them",
        "python3-libnvinfer",
    ),
    "a new TensorRT": (
        {"tensorrt": {"trtexec": "/x", "version": "12.1.0", "error": ""}},
        "runtime-tensorrt",
        "ok",
        "new here",
        "",
    ),
}


@pytest.mark.parametrize("fault", JETSON_FAULTS)
def test_each_fault_of_a_jetson(orin: DeviceProfile, fault: str) -> None:
    changes, code, level, says, command = JETSON_FAULTS[fault]
    found = judged(orin, ORIN, **changes)[code]
    assert found.level == level
    assert says in found.message
    assert command in found.command


def test_locked_clocks_are_as_good_as_a_governor(orin: DeviceProfile) -> None:
    one = {"governor": "schedutil", "now": 1728, "min": 1728, "max": 1728, "hardware_max": 1728}
    assert judged(orin, ORIN, cpu_policies={"policy0": one})["governor"].level == "ok"


def test_cores_that_the_mode_switches_off_are_not_missed(config_home: Path) -> None:
    profile = load_device("orin-nx")
    facts = {**ORIN, "compatible": ["nvidia,p3767-0000"], "power_mode": "15W", "usable_cores": 4}
    assert "cores" not in judged(profile, facts)
    assert judged(profile, facts, power_mode="25W")["cores"].level == "warn"


@pytest.mark.parametrize(
    ("modes", "best"),
    [
        (["15W", "25W", "MAXN_SUPER"], "MAXN_SUPER"),
        (["MAXN", "MODE_15W", "MODE_50W"], "MAXN"),
        (["15W", "7W"], "15W"),
        (["15W_2CORE", "20W_2CORE", "20W_6CORE", "10W_DESKTOP"], "20W_6CORE"),
    ],
)
def test_the_fastest_mode_by_its_name(modes: list[str], best: str) -> None:
    assert fastest(modes) == best


def test_the_clock_is_told_from_the_way_as_ntp_does() -> None:
    """Asked at 100, the board's clock 50 ahead; 3 s there, 5 to work, 1 back."""
    clock = ClockOffset.between((100, 109), (153, 158))
    assert clock.ahead_s == pytest.approx(51) and clock.within_s == pytest.approx(2)
    assert abs(clock.ahead_s - 50) <= clock.within_s


@pytest.mark.parametrize(
    ("board", "level"),
    [((104.9, 105.9), "unknown"), ((100.4, 109.9), "ok"), ((102.5, 112.3), "warn"), ((90, 91), "warn")],
)
def test_a_slow_connection_is_no_skew(pi: DeviceProfile, board: tuple[float, float], level: str) -> None:
    findings = examine({**PI5, "time_s": board[0], "time_end_s": board[1]}, pi, host_s=(100.0, 110.0))
    assert next(finding for finding in findings if finding.code == "clock-skew").level == level
