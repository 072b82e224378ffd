"""What a board says of itself, read below a made-up root: files as they are on the boards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.probe import cpu, facts, jetpack
from edgecnn.probe.emulation import emulated
from edgecnn.probe.sensors.machine import Machine

PI5_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0b
"""
NVPMODEL = """# 25W GPU caps 918
< PM_CONFIG DEFAULT=1 >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
"""


class Root:
    """A folder that stands for a board's `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, text: str) -> None:
        target = self.folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def machine(self, **programs: str) -> Machine:
        """`programs` says what each answers."""
        return Machine(
            str(self.folder), {name: [sys.executable, "-c", f"print({text!r})"] for name, text in programs.items()}
        )


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_a_raspberry_pi(root: Root) -> None:
    root.write("/sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    root.write("/sys/firmware/devicetree/base/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    root.write("/proc/cpuinfo", PI5_CPUINFO)
    root.write("/etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    root.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    found = facts.describe(root.machine())
    assert found["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["compatible"] == ["raspberrypi,5-model-b", "brcm,bcm2712"]
    assert (found["cpu"], found["isa"]) == ("implementer 0x41 part 0xd0b", ["asimd", "dotprod", "fp16"])
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert (found["l4t"], found["jetpack"]) == (None, None)
    assert found["machine_id_hash"] and found["machine_id_hash"] not in "0123456789abcdef0123456789abcdef"


def test_a_root_with_nothing_in_it_is_unknown_all_over(root: Root) -> None:
    found = facts.describe(root.machine())
    for key in ("board", "compatible", "os", "isa", "governor", "boot_id", "machine_id_hash", "l4t", "jetpack"):
        assert found[key] is None, key


@pytest.mark.parametrize(
    ("text", "l4t", "name"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3", "6.2"),
        ("# R35 (release), REVISION: 1.0, GCID: 31346300, BOARD: t186ref, EABI: aarch64", "35.1.0", "5.0.2"),
        ("# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref, EABI: aarch64", "32.7.4", "4.6.4"),
        ("# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64", "39.2.0", "7.2"),
        ("# R36 (release), REVISION: 9.9, GCID: 1, BOARD: generic", "36.9.9", None),
    ],
)
def test_jetson_linux_and_its_jetpack(root: Root, text: str, l4t: str, name: str | None) -> None:
    root.write("/etc/nv_tegra_release", text)
    assert jetpack.l4t(root.machine()) == l4t
    assert jetpack.jetpack(l4t) == name


def test_without_its_file_the_package_tells_the_release(root: Root) -> None:
    asked = {"dpkg-query": "36.4.7-20250918154033"}
    assert jetpack.l4t(root.machine(**asked)) is None  # no Jetson
    root.write("/proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    assert jetpack.l4t(root.machine(**asked)) == "36.4.7"
    assert jetpack.l4t(root.machine(**{"dpkg-query": "no packages found"})) is None


def test_power_modes_by_name(root: Root) -> None:
    root.write("/etc/nvpmodel.conf", NVPMODEL)
    assert jetpack.power_modes(root.machine(nvpmodel="NV Power Mode: 15W\n0")) == {
        "power_mode": "15W",
        "power_modes": ["15W", "25W", "MAXN_SUPER"],
        "power_mode_ids": {"15W": 0, "25W": 1, "MAXN_SUPER": 2},
        "power_mode_default": "25W",
    }


def test_a_machine_without_power_modes(root: Root) -> None:
    found = jetpack.power_modes(root.machine())
    assert found == {"power_mode": None, "power_modes": [], "power_mode_ids": {}, "power_mode_default": None}


def policy(root: Root, folder: str, **values: str) -> None:
    for name, text in values.items():
        root.write(f"/sys/devices/system/cpu/{folder}/{name}", text)


def test_governors_and_clocks_of_each_policy(root: Root) -> None:
    span = {"scaling_min_freq": "1500000", "scaling_max_freq": "2400000", "cpuinfo_max_freq": "2400000"}
    policy(root, "cpufreq/policy0", scaling_governor="ondemand", scaling_cur_freq="1500000", **span)
    policy(root, "cpufreq/policy4", scaling_governor="performance", scaling_cur_freq="2400000", **span)
    policy(root, "cpu0/cpufreq", scaling_governor="other", scaling_cur_freq="1", **span)
    found = cpu.policies(root.machine())
    assert list(found) == ["policy0", "policy4"]
    assert cpu.governors(found) == ["ondemand", "performance"]
    assert cpu.clocks(found) == {"now": 2400, "min": 1500, "max": 2400}


def test_where_there_are_no_policies_the_cores_tell(root: Root) -> None:
    policy(root, "cpu1/cpufreq", scaling_governor="ondemand", scaling_cur_freq="rubbish")
    found = cpu.policies(root.machine())
    assert found["cpu1"] == {"governor": "ondemand", "now": None, "min": None, "max": None, "hardware_max": None}
    assert cpu.clocks({}) == {"now": None, "min": None, "max": None}


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_an_emulator_is_seen_by_the_file_that_is_really_executed(tmp_path: Path) -> None:
    assert emulated() is False
    cat = shutil.which("cat")
    assert cat
    fake = tmp_path / "qemu-aarch64-static"
    shutil.copy(cat, fake)
    try:
        subprocess.run([fake], stdin=subprocess.DEVNULL, check=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a copy of cat does not run here")
    assert emulated([os.fspath(fake)]) is True
    assert emulated([os.fspath(tmp_path / "none")]) is None
