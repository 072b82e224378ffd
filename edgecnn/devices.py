"""Device profiles: one YAML each, shipped or the user's own, found by name, alias or path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecnn.core import shipped, written
from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.target import DeviceProfile
from edgecnn.probe import backends

BACKENDS = (*backends.KNOWN, "tensorrt")
"""`tensorrt` runs on boards only; the others this host can run too."""


def load_device(name_or_alias_or_path: str) -> DeviceProfile:
    """The profile of that name or alias, or in that file. Raises InputError with the nearest names."""
    if shipped.is_path(name_or_alias_or_path):
        return read(Path(name_or_alias_or_path).expanduser())
    known = _by_word(list_devices())
    word = name_or_alias_or_path.lower().replace("_", "-").replace(" ", "-")
    if word in known:
        return known[word]
    raise InputError(
        "unknown-device",
        f"no device is called '{name_or_alias_or_path}'",
        hint=f"{did_you_mean(word, list(known))}\nedgecnn devices list",
    )


def list_devices() -> list[DeviceProfile]:
    """The shipped profiles and the user's own, by name. Raises InputError when two claim one word."""
    profiles = [read(path) for path in shipped.files("devices").values()]
    _by_word(profiles)
    return sorted(profiles, key=lambda profile: (not profile.local, profile.name))


def read(path: Path) -> DeviceProfile:
    """The profile in a file. Raises one InputError with every problem."""
    problems: list[str] = []
    raw = written.read_mapping(path, what="device")
    profile: DeviceProfile | None = written.validate(DeviceProfile, raw, at="", problems=problems)
    problems += _unknown_backends(raw.get("deployments"))
    if profile is None or problems:
        raise written.refuse(path, problems, what="device")
    return profile


def _unknown_backends(deployments: Any) -> list[str]:
    """What is wrong with the names of runtimes: a wrong one would fail only when a file is there to be run."""
    if not isinstance(deployments, list):
        return []
    named = [item.get("backend") if isinstance(item, dict) else None for item in deployments]
    return [
        f"deployments[{index}].backend: no backend is called '{name}'; {did_you_mean(name, list(BACKENDS))}"
        for index, name in enumerate(named)
        if isinstance(name, str) and name not in BACKENDS
    ]


def _by_word(profiles: list[DeviceProfile]) -> dict[str, DeviceProfile]:
    """Profiles by every word they answer to."""
    found: dict[str, DeviceProfile] = {}
    for profile in profiles:
        for word in (profile.name, *profile.aliases):
            other = found.setdefault(word, profile)
            if other is not profile:
                raise InputError(
                    "device-clash",
                    f"two devices answer to '{word}': {other.name} and {profile.name}",
                    why="an alias must lead to one device",
                    hint=f"remove '{word}' from one of the files in {shipped.user_folder() / 'devices'}",
                )
    return found
