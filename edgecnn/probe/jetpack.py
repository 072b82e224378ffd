"""JetPack: L4T and the JetPack it belongs to, and power modes by name."""

from __future__ import annotations

import re
from typing import Any

from .sensors.jetson import power_mode
from .sensors.machine import Machine

RELEASE = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
PACKAGE = re.compile(r"(\d+\.\d+(?:\.\d+)?)")
JETPACK = {
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}
"""By L4T. Sources: NVIDIA's JetPack archive, the tables of jetson_stats."""
MODES_FILE = "/etc/nvpmodel.conf"
MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([\w.+-]+)\s*>")
DEFAULT = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>")


def l4t(machine: Machine) -> str | None:
    """The release of Jetson Linux, such as `36.4.3`; None on other boards."""
    release = RELEASE.search(machine.text("/etc/nv_tegra_release") or "")
    if release:
        return _three(".".join(release.groups()))
    if "nvidia,tegra" not in (machine.text("/proc/device-tree/compatible") or ""):
        return None
    package = PACKAGE.match(machine.ask("dpkg-query", "-W", "-f=${Version}", "nvidia-l4t-core") or "")
    return _three(package.group(1)) if package else None


def jetpack(release: str | None) -> str | None:
    """The JetPack of a release of Jetson Linux; None for one that is not in the table."""
    return JETPACK.get(release or "")


def power_modes(machine: Machine) -> dict[str, Any]:
    """The mode in force, the names there are, their numbers on this board, and the board's default."""
    text = machine.text(MODES_FILE) or ""
    numbers = {name: int(number) for number, name in MODE.findall(text)}
    default = DEFAULT.search(text)
    names = {number: name for name, number in numbers.items()}
    return {
        "power_mode": power_mode(machine),
        "power_modes": list(numbers),
        "power_mode_ids": numbers,
        "power_mode_default": names.get(int(default.group(1))) if default else None,
    }


def _three(version: str) -> str:
    """`35.1` is 35.1.0."""
    return ".".join([*version.split("."), "0", "0"][:3])
