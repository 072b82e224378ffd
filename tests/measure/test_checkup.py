"""What a board says of itself, judged: each finding comes with what mends it, and nothing unread passes for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgecnn.core.errors import InputError
from edgecnn.core.target import Connect, DeviceProfile
from edgecnn.devices import load_device
from edgecnn.measure.checkup import Checkup, Clock, Finding, check, examine, refuse_misfit
from edgecnn.measure.checkup.state import fastest
from edgecnn.measure.checkup.wheels import Platform, wheels

GIB = 1 << 30


def works(version: str) -> dict[str, Any]:
    return {"installed": True, "version": version, "error": "", "signal": None}


MISSING = {"installed": False, "version": None, "error": "not installed", "signal": None}
PI5: dict[str, Any] = {
    "python": "3.11.2",
    "bits": 64,
    "numpy": "2.2.6",
    "machine": "aarch64",
    "system": "Linux",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "release": "6.12.25+rpt-rpi-2712",
    "libc": "glibc 2.36",
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "compatible": ["raspberrypi,5-model-b", "brcm,bcm2712"],
    "l4t": None,
    "jetpack": None,
    "emulated": False,
    "cpu": "implementer 0x41 part 0xd0b",
    "isa": ["asimd", "dotprod", "fp16"],
    "cores": 4,
    "usable_cores": 4,
    "memory_bytes": 8_442_000_000,
    "governors": ["performance"],
    "cpu_policies": {
        "policy0": {"governor": "performance", "now": 2400, "min": 1500, "max": 2400, "hardware_max": 2400}
    },
    "cpu_mhz": {"now": 2400, "min": 1500, "max": 2400},
    "temperatures_c": {"cpu-thermal": 48.2},
    "throttled": 0,
    "oc_counts": {},
    "power_mode": None,
    "power_modes": [],
    "disk_free_bytes": 20 * GIB,
    "memory_available_bytes": 7 * GIB,
    "loadavg": [0.1, 0.2, 0.3],
    "externally_managed": True,
    "has_pip": True,
    "has_venv": True,
    "tensorrt": {"trtexec": None, "version": None, "error": "there is none"},
    "runtimes": {
        "numpy": works("2.2.6"),
        "onnxruntime": works("1.32.0"),
        "ai_edge_litert": works("2.3.0"),
        "tflite_runtime": MISSING,
        "tensorrt": MISSING,
        "torch": MISSING,
    },
}
ORIN: dict[str, Any] = {
    **PI5,
    "python": "3.10.12",
    "libc": "glibc 2.35",
    "os": "Ubuntu 22.04.5 LTS",
    "board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "compatible": ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    "l4t": "36.4.3",
    "jetpack": "6.2",
    "usable_cores": 6,
    "memory_bytes": 7_990_000_000,
    "cpu_mhz": {"now": 1728, "min": 115.2, "max": 1728},
    "cpu_policies": {
        "policy0": {"governor": "schedutil", "now": 729.6, "min": 729.6, "max": 1728, "hardware_max": 1728}
    },
    "governors": ["schedutil"],
    "throttled": None,
    "oc_counts": {"oc1": 0, "oc2": 0, "oc3": 0},
    "power_mode": "25W",
    "power_modes": ["15W", "25W", "MAXN_SUPER"],
    "power_mode_ids": {"15W": 0, "25W": 1, "MAXN_SUPER": 2},
    "power_mode_default": "25W",
    "externally_managed": False,
    "tensorrt": {"trtexec": "/usr/src/tensorrt/bin/trtexec", "version": "10.3.0.30", "error": ""},
    "runtimes": {**PI5["runtimes"], "tensorrt": works("10.3.0")},
}


@pytest.fixture
def pi(config_home: Path) -> DeviceProfile:
    """A user's Pi 5, reached over ssh."""
    found = load_device("raspberry-pi-5")
    return found.model_copy(update={"name": "pi", "extends": found.name, "connect": Connect(ssh="pi@board")})


@pytest.fixture
def orin(config_home: Path) -> DeviceProfile:
    found = load_device("jetson")
    return found.model_copy(update={"name": "orin", "extends": found.name, "connect": Connect(ssh="orin")})


def judged(profile: DeviceProfile, facts: Mapping[str, Any], **other: Any) -> dict[str, Finding]:
    now = time.time()
    told = {"time_s": now, "time_end_s": now, **facts, **other}
    findings = examine(told, profile, host_s=(now, now))
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


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


VENV = "python3 -m venv ~/edgecnn\n~/edgecnn/bin/python -m pip install "


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ({}, VENV + "ai-edge-litert==2.3.0 onnxruntime==1.32.0\npython: ~/edgecnn/bin/python"),
        ({"has_venv": False}, "sudo apt install -y python3-venv\n" + VENV),
        ({"externally_managed": False}, "python3 -m pip install ai-edge-litert==2.3.0 onnxruntime==1.32.0"),
        ({"externally_managed": False, "has_pip": False}, "sudo apt install -y python3-pip\npython3 -m pip install"),
        ({"externally_managed": False, "python": "3.9.2", "libc": "glibc 2.31"}, "litert==2.1.0 onnxruntime==1.19.2"),
    ],
)
def test_missing_runtimes_come_with_one_command(pi: DeviceProfile, told: dict[str, Any], command: str) -> None:
    runtimes = {**PI5["runtimes"], "onnxruntime": MISSING, "ai_edge_litert": MISSING}
    findings = judged(pi, PI5, runtimes=runtimes, **told)
    for code in ("runtime-tflite", "runtime-onnxruntime"):
        assert findings[code].level == "fail"
        assert "is missing" in findings[code].message
        assert command in findings[code].command
    assert findings["runtime-tflite"].command == findings["runtime-onnxruntime"].command


def test_one_runtime_is_enough(pi: DeviceProfile) -> None:
    findings = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": MISSING})
    assert (findings["runtime-onnxruntime"].level, findings["runtime-tflite"].level) == ("warn", "ok")


def test_tflite_runtime_stands_in_for_ai_edge_litert(pi: DeviceProfile) -> None:
    runtimes = {**PI5["runtimes"], "ai_edge_litert": MISSING, "tflite_runtime": works("2.13.0")}
    assert "tflite-runtime 2.13.0" in judged(pi, PI5, runtimes=runtimes)["runtime-tflite"].message


def test_nothing_runs_without_numpy(pi: DeviceProfile) -> None:
    findings = judged(pi, PI5, runtimes={**PI5["runtimes"], "numpy": MISSING})
    assert findings["numpy"].level == "fail"
    assert "pip install numpy" in findings["numpy"].command
    assert not Checkup({}, tuple(findings.values())).usable


def test_an_illegal_instruction_is_a_finding(pi: DeviceProfile) -> None:
    crash = {"installed": True, "version": None, "error": "", "signal": 4}
    found = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": crash})["runtime-onnxruntime"]
    assert "SIGILL" in found.message
    assert "--force-reinstall" in found.command
    crash = {"installed": True, "version": None, "error": "bad alloc", "signal": 11}
    found = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": crash})["runtime-onnxruntime"]
    assert "SIGSEGV" in found.message and "bad alloc" in found.message


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


def test_jetpack_6_keeps_the_numpy_of_its_bindings(orin: DeviceProfile) -> None:
    found = judged(orin, ORIN, runtimes={**ORIN["runtimes"], "onnxruntime": MISSING})["runtime-onnxruntime"]
    assert found.command == 'python3 -m pip install "numpy<2" onnxruntime==1.23.2'


def test_the_hosts_own_packages_come_from_its_own_extra(config_home: Path) -> None:
    runtimes = {**PI5["runtimes"], "ai_edge_litert": MISSING}
    findings = judged(load_device("host"), {**PI5, "board": None}, runtimes=runtimes)
    assert "[tflite]" in findings["runtime-tflite"].command
    assert "clock-skew" not in findings and "memory-size" not in findings


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


@pytest.mark.parametrize(
    ("platform", "onnxruntime", "tflite"),
    [
        (Platform((3, 8), (2, 31)), ["onnxruntime==1.19.2"], ["tflite-runtime==2.13.0", '"numpy<2"']),
        (Platform((3, 9), (2, 31)), ["onnxruntime==1.19.2"], ["ai-edge-litert==2.1.0"]),
        (Platform((3, 10), (2, 35)), ["onnxruntime==1.23.2"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 13), (2, 41)), ["onnxruntime==1.32.0"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 11), None), ["onnxruntime==1.32.0"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 10), (2, 24)), ["onnxruntime==1.16.3"], ["ai-edge-litert==1.4.0"]),
        (Platform((3, 12), (2, 24)), None, ["ai-edge-litert==1.4.0"]),
        (Platform((3, 9), (2, 31), 32), None, ["tflite-runtime==2.13.0", '"numpy<2"']),
        (Platform((3, 11), (2, 36), 32), None, None),
        (Platform((3, 6), (2, 27)), None, None),
        (Platform((3, 15), (2, 41)), None, None),
    ],
)
def test_the_wheels_there_are(platform: Platform, onnxruntime: list[str] | None, tflite: list[str] | None) -> None:
    assert wheels("onnxruntime", platform) == onnxruntime
    assert wheels("tflite", platform) == tflite


def test_the_clock_is_told_from_the_way_as_ntp_does() -> None:
    """Asked at 100, the board's clock 50 ahead; 3 s there, 5 to work, 1 back."""
    clock = Clock.between((100, 109), (153, 158))
    assert clock.ahead_s == pytest.approx(51) and clock.within_s == pytest.approx(2)
    assert abs(clock.ahead_s - 50) <= clock.within_s


@pytest.mark.parametrize(
    ("board", "level"),
    [((104.9, 105.9), "unknown"), ((100.4, 109.9), "ok"), ((102.5, 112.3), "warn"), ((90, 91), "warn")],
)
def test_a_slow_connection_is_no_skew(pi: DeviceProfile, board: tuple[float, float], level: str) -> None:
    findings = examine({**PI5, "time_s": board[0], "time_end_s": board[1]}, pi, host_s=(100.0, 110.0))
    assert next(finding for finding in findings if finding.code == "clock-skew").level == level


Misfit = Callable[[DeviceProfile, Mapping[str, Any]], InputError]


@pytest.fixture
def misfit() -> Misfit:
    def refused(profile: DeviceProfile, facts: Mapping[str, Any]) -> InputError:
        with pytest.raises(InputError) as caught:
            refuse_misfit(facts, profile)
        assert caught.value.code == "device-misfit"
        return caught.value

    return refused


def test_another_board_is_refused_with_the_profile_that_fits(pi: DeviceProfile, misfit: Misfit) -> None:
    pi4 = {**PI5, "board": "Raspberry Pi 4 Model B Rev 1.4", "compatible": ["raspberrypi,4-model-b", "brcm,bcm2711"]}
    error = misfit(pi, pi4)
    assert "Raspberry Pi 4 Model B Rev 1.4" in error.why
    assert error.hint == "edgecnn devices add pi --ssh pi@board --like raspberry-pi-4b --force"
    connect = Connect(ssh="x", python="~/v/bin/python", config=Path("/etc/my config"))
    hint = misfit(pi.model_copy(update={"connect": connect}), pi4).hint
    assert "--python '~/v/bin/python' --config '/etc/my config' --force" in hint


def test_a_module_of_the_same_chip_is_another_board(orin: DeviceProfile, misfit: Misfit) -> None:
    error = misfit(orin, {**ORIN, "compatible": ["nvidia,p3768-0000+p3767-0000", "nvidia,tegra234"]})
    assert "--like jetson-orin-nx-16gb" in error.hint


def test_a_pc_and_a_board_nobody_knows(pi: DeviceProfile, misfit: Misfit) -> None:
    pc = {**PI5, "board": None, "compatible": None, "machine": "x86_64"}
    assert "--like host" in misfit(pi, pc).hint
    unknown = {**PI5, "board": "Orange Pi 5", "compatible": ["xunlong,orangepi-5", "rockchip,rk3588s"]}
    assert "match" in misfit(pi, unknown).hint


def test_what_fits_is_not_refused(pi: DeviceProfile, orin: DeviceProfile) -> None:
    refuse_misfit(PI5, pi)
    refuse_misfit(ORIN, orin)
    refuse_misfit({**PI5, "board": None, "compatible": None}, pi)  # it does not say
    refuse_misfit({**PI5, "board": "Raspberry Pi 500 Rev 1.0", "compatible": ["brcm,bcm2712"]}, pi)
    refuse_misfit(PI5, load_device("host"))


class FakeDevice:
    """Answers with the facts it was given, and keeps the job."""

    local = False

    def __init__(self, facts: object, name: str = "pi") -> None:
        self.name, self.facts, self.jobs = name, facts, list[dict[str, Any]]()

    def run(self, job: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        self.jobs.append(dict(job))
        options["on_event"]({"event": "progress", "note": "numpy", "done": 0, "total": 6})
        return {"facts": self.facts}


def test_check_asks_once_and_judges(pi: DeviceProfile) -> None:
    now = time.time()
    device = FakeDevice({**PI5, "time_s": now, "time_end_s": now})
    events: list[Any] = []
    found = check(device, pi, tell=events.append)
    assert device.jobs == [{"verb": "check", "folder": ".cache/edgecnn"}]
    assert found.usable and not found.commands()
    assert [type(event).__name__ for event in events] == ["Started", "Progress", "Finished"]
    assert json.loads(json.dumps(found.to_dict()))["facts"]["board"] == PI5["board"]


def test_check_refuses_another_board(pi: DeviceProfile) -> None:
    with pytest.raises(InputError, match="is not the board"):
        check(FakeDevice({**PI5, "board": "Raspberry Pi 4 Model B Rev 1.4", "compatible": None}), pi)


HOSTILE = [
    "\x1b]0;gone\x07",
    ["x"] * 9999,
    {"a": {"b": {"c": {"d": {"e": 1}}}}},
    -1,
    10**400,
    1e308,
    True,
    None,
    "x" * 99999,
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
def test_whatever_a_board_says_does_no_harm(pi: DeviceProfile, orin: DeviceProfile, value: object) -> None:
    for profile, good in ((pi, PI5), (orin, ORIN)):
        for key in good:
            if key in ("board", "compatible", "machine"):
                continue
            found = check(FakeDevice({**good, key: value}), profile)
            text = json.dumps(found.to_dict(), ensure_ascii=False)
            assert "\x1b" not in text and len(text) < 100_000
            assert all(len(finding.message) < 2000 for finding in found.findings)
    assert check(FakeDevice(value), pi).findings
    for inner in ("runtimes", "tensorrt", "cpu_policies", "cpu_mhz", "temperatures_c", "power_mode_ids", "oc_counts"):
        names = dict.fromkeys(("numpy", "now", "policy0", "15W", "cpu", "version", "oc1", "MAXN_SUPER"), value)
        assert check(FakeDevice({**ORIN, inner: names}), orin).findings


def test_a_command_holds_nothing_that_a_board_said(pi: DeviceProfile, orin: DeviceProfile) -> None:
    evil = "$(reboot); `id` && rm -rf ~"
    for profile, good in ((pi, PI5), (orin, ORIN)):
        told = {key: evil if isinstance(value, str) else value for key, value in good.items() if key != "board"}
        told.update(board=good["board"], governors=[evil], power_modes=[evil, evil + "2"], power_mode_ids={evil: 3})
        told["runtimes"] = {name: {"installed": True, "error": evil, "version": evil} for name in good["runtimes"]}
        for finding in examine(told, profile):
            assert "reboot)" not in finding.command and "rm -rf" not in finding.command
