"""Two boards of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.config.devices import load_device
from edgecnn.core.device import Connect, DeviceProfile


@pytest.fixture
def pi(config_home: Path) -> DeviceProfile:
    """A user's Pi 5, reached over ssh."""
    found = load_device("raspberry-pi-5")
    return found.model_copy(update={"name": "pi", "extends": found.name, "connect": Connect(ssh="pi@board")})


@pytest.fixture
def orin(config_home: Path) -> DeviceProfile:
    found = load_device("jetson")
    return found.model_copy(update={"name": "orin", "extends": found.name, "connect": Connect(ssh="orin")})
