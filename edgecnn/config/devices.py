"""Device profiles: one YAML file each, bundled or the user's own, found by name, alias or path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgecnn.config import user_files, yaml_file
from edgecnn.core import paths, plugins
from edgecnn.core.device import Connect, Deployment, DeviceProfile
from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.store import make_folder, write_atomically
from edgecnn.probe import backends

OWN = ("name", "aliases", "extends")
"""What a device does not take from the one it extends."""


def known_backends() -> tuple[str, ...]:
    """The probe's backends, and those that formats bring."""
    return tuple(dict.fromkeys((*backends.KNOWN, *(item.backend for item in plugins.every("formats")))))


def load_device(name_or_alias_or_path: str) -> DeviceProfile:
    """The profile of that name or alias, or in that file. Raises InputError with the nearest names."""
    if user_files.is_path(name_or_alias_or_path):
        return read(paths.at_home(name_or_alias_or_path))
    profiles = Catalog().by_word()
    word = _word(name_or_alias_or_path)
    if word in profiles:
        return profiles[word]
    raise _unknown(name_or_alias_or_path, list(profiles))


def list_devices() -> list[DeviceProfile]:
    """The user's own profiles and the bundled ones, by name, this host first; `aliases` are those that lead there.

    A word of the user's own device is no longer a bundled one's alias. Raises InputError when two claim one word.
    """
    by_word = Catalog().by_word()
    profiles = []
    for word, profile in by_word.items():
        if word == profile.name:
            aliases = tuple(alias for alias in profile.aliases if by_word[alias] is profile)
            profiles.append(profile.model_copy(update={"aliases": aliases}))
    return sorted(profiles, key=lambda profile: (not profile.local, profile.connect is None, profile.name))


def read(path: Path) -> DeviceProfile:
    """The profile in a file. Raises one InputError with every problem."""
    return Catalog().profile(path)


def add(
    name: str, *, ssh: str, like: str, python: str | None = None, config: Path | None = None, replace: bool = False
) -> Path:
    """Write a device of the user's own: `like` a known one, reached at `ssh`; where it lies.

    `python` is the interpreter on the board, `config` another ssh configuration file. Raises InputError for a word
    that is taken, an unknown `like`, and a connection that makes no sense.
    """
    catalog = Catalog()
    target = paths.user_folder() / "devices" / f"{name}.yaml"
    _validate_name(name, target, catalog)
    if target.exists() and not replace:
        hint = f"edgecnn devices show {name}\nadd --force to write it anew"
        raise InputError("device-exists", f"there is a device '{name}' already: {target}", hint=hint)
    if config is not None and not paths.at_home(config).is_file():
        raise InputError("no-ssh-config", f"there is no ssh configuration {config}", hint="give --config FILE")
    parent = catalog.file_of(_word(like), without=(target,))
    if parent is None:
        raise _unknown(like, catalog.names(without=(target,)), catalog.aliases(without=(target,)))
    connect: dict[str, str] = {"ssh": ssh}
    if config is not None:
        connect["config"] = str(paths.at_home(config).resolve())
    if python is not None:
        connect["python"] = python
    problems: list[str] = []
    yaml_file.validate(Connect, connect, at="connect", problems=problems)
    if problems:
        raise InputError("bad-device", f"device '{name}' cannot be written", why="\n".join(problems))
    content = {"name": name, "extends": catalog.profile(parent).name, "connect": connect}
    make_folder(target.parent)
    write_atomically(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return target


def _validate_name(name: str, target: Path, catalog: Catalog) -> None:
    """A bundled alias may be taken over; a bundled name and the words of the user's other devices may not."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        hint = "small letters, digits and '-': pi, lab-jetson"
        raise InputError("bad-device-name", f"'{name}' is no name for a device", hint=hint)
    own = catalog.file_of(name, among=[path for path in catalog.own if path != target])
    if own is not None:
        raise InputError("device-clash", f"'{name}' leads to {own} already", hint="choose another name")
    if name in user_files.files("devices") and user_files.files("devices")[name] != target:
        raise InputError(
            "device-clash",
            f"'{name}' is a profile that comes with edgecnn",
            hint=f"choose another name: edgecnn devices add my-{name} --ssh USER@HOST --like {name}",
        )


def _unknown(word: str, names: list[str], aliases: Sequence[str] = ()) -> InputError:
    near = did_you_mean(_word(word), [*names, *aliases])
    hint = f"{near if near.startswith('did you mean') else did_you_mean(_word(word), names)}\nedgecnn devices list"
    return InputError("unknown-device", f"no device is called '{word}'", hint=hint)


def _word(text: str) -> str:
    return text.lower().replace("_", "-").replace(" ", "-")


class Catalog:
    """Every device file, read once: the user's `own`, then all `bundled` ones, also those that a file of the user's
    replaces, for that file may extend what it replaces."""

    def __init__(self) -> None:
        own, bundled = user_files.folders("devices")
        self.own = sorted(own.glob("*.yaml"))
        self.bundled = sorted(bundled.glob("*.yaml"))
        self._raw: dict[Path, dict[str, Any]] = {}

    def by_word(self) -> dict[str, DeviceProfile]:
        """Profiles by every word they answer to: the user's own before a bundled one's alias, not before its name.

        Raises InputError `device-clash` when two claim one word.
        """
        own = [self.profile(path) for path in self.own]
        replaced = {path.stem for path in self.own}
        bundled = [self.profile(path) for path in self.bundled if path.stem not in replaced]
        profiles: dict[str, DeviceProfile] = {}
        for profile in own:
            for word in (profile.name, *profile.aliases):
                _claim(profiles, word, profile)
        for profile in bundled:
            _claim(profiles, profile.name, profile)
        taken = set(profiles)
        for profile in bundled:
            for word in profile.aliases:
                if word not in taken:
                    _claim(profiles, word, profile)
        return profiles

    def profile(self, path: Path, *, extended_by: Sequence[Path] = ()) -> DeviceProfile:
        """The profile in a file, with what it takes from the one it extends."""
        problems: list[str] = []
        raw, own = self._mapping(path), self._mapping(path)
        if isinstance(own.get("extends"), str):
            parent = self._parent(own["extends"], (*extended_by, path), problems)
            if parent is not None:
                raw = _extended(parent, own)
        profile: DeviceProfile | None = yaml_file.validate(DeviceProfile, raw, at="", problems=problems)
        if problems and problems[0].startswith("extends: "):  # what the parent would have given is not missing
            problems = [problem for problem in problems if not problem.endswith(": is missing")]
        problems += _unknown_backends(raw.get("deployments"))
        if profile is None or problems:
            raise yaml_file.file_error(path, problems, what="device")
        return _with_every_format(profile) if profile.local else profile

    def file_of(self, word: str, *, without: Sequence[Path] = (), among: Sequence[Path] | None = None) -> Path | None:
        """The file of the device that answers to `word`: the user's own before a bundled one, a name before an
        alias."""
        files = [path for path in (self._files() if among is None else among) if path not in without]
        for key in ("name", "aliases"):
            for path in files:
                words = self._mapping(path).get(key)
                if word == words or (isinstance(words, list) and word in words):
                    return path
        return None

    def names(self, *, without: Sequence[Path] = ()) -> list[str]:
        names = (self._mapping(path).get("name") for path in self._files() if path not in without)
        return list(dict.fromkeys(str(name) for name in names))

    def aliases(self, *, without: Sequence[Path] = ()) -> list[str]:
        """Other words that a profile answers to."""
        found = (self._mapping(path).get("aliases") for path in self._files() if path not in without)
        return list(dict.fromkeys(str(word) for words in found if isinstance(words, list) for word in words))

    def _files(self) -> list[Path]:
        return [*self.own, *self.bundled]

    def _mapping(self, path: Path) -> dict[str, Any]:
        """What is written in the file itself; an ssh configuration named there lies beside it."""
        if path not in self._raw:
            raw = yaml_file.read_mapping(path, what="device")
            connect = raw.get("connect")
            if isinstance(connect, dict) and isinstance(connect.get("config"), str):
                raw["connect"] = {**connect, "config": str(path.parent / paths.at_home(connect["config"]))}
            self._raw[path] = raw
        return self._raw[path]

    def _parent(self, word: str, chain: Sequence[Path], problems: list[str]) -> dict[str, Any] | None:
        path = self.file_of(_word(word), without=chain)
        if path is not None:
            return self.profile(path, extended_by=chain).model_dump(mode="json", exclude_defaults=True)
        if self.file_of(_word(word), among=chain) is not None:
            circle = " extends ".join(str(self._mapping(member).get("name", member.stem)) for member in chain)
            problems.append(f"extends: {circle} extends {word}, which goes round in a circle")
        else:
            close = did_you_mean(_word(word), self.names(without=chain))
            problems.append(f"extends: no device is called '{word}'; {close}")
        return None


def _with_every_format(profile: DeviceProfile) -> DeviceProfile:
    """This host with the formats that its file does not name, on request."""
    named = {item.format for item in profile.deployments}
    more = [item for item in plugins.every("formats") if item.export and item.name not in named]
    added = (Deployment(format=item.name, backend=item.backend, family=item.family, on_request=True) for item in more)
    return profile.model_copy(update={"deployments": (*profile.deployments, *added)})


def _extended(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """`parent` with what `child` says otherwise. A board that is reached is not this host; a file that replaces a
    bundled one takes its aliases too."""
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
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged


def _unknown_backends(deployments: Any) -> list[str]:
    """What is wrong with the names of runtimes: a wrong one would fail only when a file is there to be run."""
    if not isinstance(deployments, list):
        return []
    named = [item.get("backend") if isinstance(item, dict) else None for item in deployments]
    return [
        f"deployments[{index}].backend: no backend is called '{name}'; {did_you_mean(name, list(known_backends()))}"
        for index, name in enumerate(named)
        if isinstance(name, str) and name not in known_backends()
    ]


def _claim(profiles: dict[str, DeviceProfile], word: str, profile: DeviceProfile) -> None:
    other = profiles.setdefault(word, profile)
    if other is not profile:
        raise InputError(
            "device-clash",
            f"two devices answer to '{word}': {other.name} and {profile.name}",
            why="a word must lead to one device",
            hint=f"remove '{word}' from one of the files in {paths.user_folder() / 'devices'}",
        )
