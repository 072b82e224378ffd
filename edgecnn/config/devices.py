"""Device profiles: one YAML each, shipped or the user's own, found by name, alias or path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgecnn.config import user_files, yaml_file
from edgecnn.core import paths
from edgecnn.core.device import Connect, DeviceProfile
from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.store import cannot_write, write_atomically
from edgecnn.probe import backends

BACKENDS = tuple(dict.fromkeys((*backends.KNOWN, "tensorrt")))
"""`tensorrt` runs on boards only; the others this host can run too."""
OWN = ("name", "aliases", "extends")
"""What a device does not take from the one it extends."""


def load_device(name_or_alias_or_path: str) -> DeviceProfile:
    """The profile of that name or alias, or in that file. Raises InputError with the nearest names."""
    if user_files.is_path(name_or_alias_or_path):
        return read(paths.at_home(name_or_alias_or_path))
    known = _by_word(*_profiles())
    word = _word(name_or_alias_or_path)
    if word in known:
        return known[word]
    raise InputError(
        "unknown-device",
        f"no device is called '{name_or_alias_or_path}'",
        hint=f"{did_you_mean(word, list(known))}\nedgecnn devices list",
    )


def list_devices() -> list[DeviceProfile]:
    """The user's own profiles and the shipped ones, by name, this host first; `aliases` are those that lead there.

    A word of the user's own device is no longer a shipped one's alias. Raises InputError when two claim one word.
    """
    own, ours = _profiles()
    known = _by_word(own, ours)
    found = [
        profile.model_copy(update={"aliases": tuple(word for word in profile.aliases if known[word] is profile)})
        for profile in (*own, *ours)
    ]
    return sorted(found, key=lambda profile: (not profile.local, profile.connect is None, profile.name))


def read(path: Path) -> DeviceProfile:
    """The profile in a file. Raises one InputError with every problem."""
    return _Files().profile(path)


def add(
    name: str, *, ssh: str, like: str, python: str | None = None, config: Path | None = None, replace: bool = False
) -> Path:
    """Write a device of the user's own: `like` a known one, reached at `ssh`; where it lies.

    `python` is the interpreter on the board, `config` another ssh configuration file. Raises InputError for a word
    that is taken, an unknown `like`, and a connection that makes no sense.
    """
    files = _Files()
    target = paths.user_folder() / "devices" / f"{name}.yaml"
    _refuse_taken(name, target, files)
    if target.exists() and not replace:
        hint = f"edgecnn devices show {name}\nadd --force to write it anew"
        raise InputError("device-exists", f"there is a device '{name}' already: {target}", hint=hint)
    if config is not None and not paths.at_home(config).is_file():
        raise InputError("no-ssh-config", f"there is no ssh configuration {config}", hint="give --config FILE")
    parent = files.named(_word(like), without=(target,))
    if parent is None:
        hint = f"{did_you_mean(_word(like), files.words(without=(target,)))}\nedgecnn devices list"
        raise InputError("unknown-device", f"no device is called '{like}'", hint=hint)
    connect: dict[str, str] = {"ssh": ssh}
    if config is not None:
        connect["config"] = str(paths.at_home(config).resolve())
    if python is not None:
        connect["python"] = python
    problems: list[str] = []
    yaml_file.validate(Connect, connect, at="connect", problems=problems)
    if problems:
        raise InputError("bad-device", f"device '{name}' cannot be written", why="\n".join(problems))
    content = {"name": name, "extends": files.profile(parent).name, "connect": connect}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    write_atomically(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return target


def _refuse_taken(name: str, target: Path, files: _Files) -> None:
    """A shipped alias may be taken over; a shipped name and the words of the user's other devices may not."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        hint = "small letters, digits and '-': pi, lab-jetson"
        raise InputError("bad-device-name", f"'{name}' is no name for a device", hint=hint)
    own = files.named(name, without=(target,), among=_own())
    if own is not None:
        raise InputError("device-clash", f"'{name}' leads to {own} already", hint="choose another name")
    if name in user_files.files("devices") and user_files.files("devices")[name] != target:
        raise InputError(
            "device-clash",
            f"'{name}' is a profile that comes with edgecnn",
            hint=f"choose another name: edgecnn devices add my-{name} --ssh USER@HOST --like {name}",
        )


def _profiles() -> tuple[list[DeviceProfile], list[DeviceProfile]]:
    """The user's profiles, and the shipped ones that no file of the user's replaces."""
    files, own = _Files(), _own()
    return [files.profile(path) for path in own], [
        files.profile(path) for path in user_files.files("devices").values() if path not in own
    ]


def _own() -> list[Path]:
    folder = user_files.folders("devices")[0]
    return sorted(folder.glob("*.yaml")) if folder.is_dir() else []


def _word(text: str) -> str:
    return text.lower().replace("_", "-").replace(" ", "-")


class _Files:
    """Device files, each read once."""

    def __init__(self) -> None:
        self._raw: dict[Path, dict[str, Any]] = {}

    def raw(self, path: Path) -> dict[str, Any]:
        """What is written in the file itself; an ssh configuration named there lies beside it."""
        if path not in self._raw:
            raw = yaml_file.read_mapping(path, what="device")
            connect = raw.get("connect")
            if isinstance(connect, dict) and isinstance(connect.get("config"), str):
                raw["connect"] = {**connect, "config": str(path.parent / paths.at_home(connect["config"]))}
            self._raw[path] = raw
        return self._raw[path]

    def profile(self, path: Path, *, extended_by: Sequence[Path] = ()) -> DeviceProfile:
        """The profile in a file, with what it takes from the one it extends."""
        problems: list[str] = []
        raw, own = self.raw(path), self.raw(path)
        if isinstance(own.get("extends"), str):
            parent = self._parent(own["extends"], (*extended_by, path), problems)
            if parent is not None:
                raw = _extended(parent, own)
        profile: DeviceProfile | None = yaml_file.validate(DeviceProfile, raw, at="", problems=problems)
        if problems and problems[0].startswith("extends: "):  # what the parent would have given is not missing
            problems = [problem for problem in problems if not problem.endswith(": is missing")]
        problems += _unknown_backends(raw.get("deployments"))
        if profile is None or problems:
            raise yaml_file.refuse(path, problems, what="device")
        return profile

    def _parent(self, word: str, chain: Sequence[Path], problems: list[str]) -> dict[str, Any] | None:
        path = self.named(_word(word), without=chain)
        if path is not None:
            found = self.profile(path, extended_by=chain)
            return found.model_dump(mode="json", exclude_defaults=True)
        if self.named(_word(word), among=list(chain)) is not None:
            round = " extends ".join(str(self.raw(member).get("name", member.stem)) for member in chain)
            problems.append(f"extends: {round} extends {word}, which goes round in a circle")
        else:
            close = did_you_mean(_word(word), self.words(without=chain))
            problems.append(f"extends: no device is called '{word}'; {close}")
        return None

    def named(self, word: str, *, without: Sequence[Path] = (), among: Sequence[Path] | None = None) -> Path | None:
        """The file of the device that answers to `word`: the user's own before a shipped one, a name before an
        alias."""
        profiles = [path for path in (_everything() if among is None else among) if path not in without]
        for key in ("name", "aliases"):
            for path in profiles:
                answers = self.raw(path).get(key)
                if word == answers or (isinstance(answers, list) and word in answers):
                    return path
        return None

    def words(self, *, without: Sequence[Path] = ()) -> list[str]:
        """Every name there is."""
        names = (self.raw(path).get("name") for path in _everything() if path not in without)
        return list(dict.fromkeys(str(name) for name in names))


def _everything() -> list[Path]:
    """The user's files, then all that are shipped: a file that replaces a shipped one may extend it."""
    return [
        path for folder in user_files.folders("devices") if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    ]


def _extended(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """`parent` with what `child` says otherwise. A board that is reached is not this host; a file that takes the
    place of a shipped one takes its aliases too."""
    inherited = {key: value for key, value in parent.items() if key not in OWN}
    if "connect" in child:
        inherited.pop("local", None)
    if child.get("name") == parent["name"]:
        inherited.update(title=parent["title"], aliases=parent.get("aliases", ()))
    else:
        inherited["title"] = f"{parent['title']} ({child.get('name')})"
    return _merged(inherited, child)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, all else is replaced, lists too."""
    found = dict(base)
    for key, value in over.items():
        before = found.get(key)
        found[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return found


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


def _by_word(own: Sequence[DeviceProfile], ours: Sequence[DeviceProfile]) -> dict[str, DeviceProfile]:
    """Profiles by every word they answer to. The user's own win a shipped one's alias, not its name."""
    found: dict[str, DeviceProfile] = {}
    for profile in own:
        for word in (profile.name, *profile.aliases):
            _claim(found, word, profile)
    for profile in ours:
        _claim(found, profile.name, profile)
    taken = set(found)
    for profile in ours:
        for word in profile.aliases:
            if word not in taken:
                _claim(found, word, profile)
    return found


def _claim(found: dict[str, DeviceProfile], word: str, profile: DeviceProfile) -> None:
    other = found.setdefault(word, profile)
    if other is not profile:
        raise InputError(
            "device-clash",
            f"two devices answer to '{word}': {other.name} and {profile.name}",
            why="a word must lead to one device",
            hint=f"remove '{word}' from one of the files in {paths.user_folder() / 'devices'}",
        )
