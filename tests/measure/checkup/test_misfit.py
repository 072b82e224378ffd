"""Another board than its profile says is refused, and whatever a board says does no harm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from board_facts import ORIN, PI5

from edgecnn.config.devices import load_device
from edgecnn.core.device import Connect, DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.measure.checkup import check, examine, validate_fit

Misfit = Callable[[DeviceProfile, Mapping[str, Any]], InputError]


@pytest.fixture
def misfit() -> Misfit:
    def refused(profile: DeviceProfile, facts: Mapping[str, Any]) -> InputError:
        with pytest.raises(InputError) as caught:
            validate_fit(facts, profile)
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
    validate_fit(PI5, pi)
    validate_fit(ORIN, orin)
    validate_fit({**PI5, "board": None, "compatible": None}, pi)  # it does not say
    validate_fit({**PI5, "board": "Raspberry Pi 500 Rev 1.0", "compatible": ["brcm,bcm2712"]}, pi)
    validate_fit(PI5, load_device("host"))


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
    found = check(device, pi, listener=events.append)
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
