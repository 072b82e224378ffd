"""Devices: the boards this package knows and the user's own, listed, shown, added and checked."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.config import devices
from edgecnn.core.device import DeviceProfile
from edgecnn.core.events import Listener, ignore
from edgecnn.measure import checkup
from edgecnn.measure.board import open_device
from edgecnn.measure.checkup import DeviceCheckup
from edgecnn.workflows.arguments import PathLike, path_or_none

__all__ = ["AddedDevice", "CheckedDevice", "add", "check", "list", "show"]


def list() -> builtins.list[DeviceProfile]:
    """The devices that come with the package, and the user's own."""
    return devices.list_devices()


def show(name: str) -> DeviceProfile:
    """What is known of a device: by its name, an alias, or the path of its YAML file. Raises InputError."""
    return devices.load_device(name)


@dataclass(frozen=True, slots=True)
class AddedDevice:
    """A device of the user's own and the file that describes it."""

    path: Path
    profile: DeviceProfile

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "device": self.profile}


def add(
    name: str,
    *,
    ssh: str,
    like: str,
    python: str | None = None,
    config: PathLike | None = None,
    force: bool = False,
) -> AddedDevice:
    """Give a board a name: it is reached over `ssh` and is one of the device `like`. Nothing is sent to it.

    Raises InputError for a name that is taken, unless `force`.
    """
    path = devices.add(name, ssh=ssh, like=like, python=python, config=path_or_none(config), replace=force)
    return AddedDevice(path, devices.load_device(name))


@dataclass(frozen=True, slots=True)
class CheckedDevice:
    """A device and what its checkup found."""

    profile: DeviceProfile
    checkup: DeviceCheckup

    @property
    def exit_code(self) -> int:
        """4 when nothing can run there."""
        return 0 if self.checkup.usable else 4

    def to_dict(self) -> dict[str, Any]:
        return {"device": self.profile.name, **self.checkup.to_dict()}


def check(name: str, *, listener: Listener = ignore) -> CheckedDevice:
    """Ask a board what works there and what would spoil times. Raises InputError when it is another board,
    MissingError when it does not answer."""
    profile = devices.load_device(name)
    with open_device(profile) as device:
        return CheckedDevice(profile, checkup.check(device, profile, listener=listener))
