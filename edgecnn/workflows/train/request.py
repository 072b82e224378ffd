"""Training request: data, network and settings; settings come from a file and from the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.config import yaml_file
from edgecnn.core.errors import InputError
from edgecnn.tasks.task import DEFAULT
from edgecnn.train.settings import Augment, TrainSettings

AUGMENT = "augment"
NONE_IS_NOTHING = ("clip_norm", "ema", "early_stopping", "dropout", "stochastic_depth", "device", "workers")
"""Settings of which `none` says that there is none; of others it is a word."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One `edgecnn train`. `architecture` None is the one of `pretrained`; `preprocessing` holds the fields given as
    flags; `folds` 0 is no cross-validation; `again` forgets what is in `out`; `task` is what the network is for."""

    data: Path
    out: Path
    architecture: str | None = None
    pretrained: Path | None = None
    settings: TrainSettings = field(default_factory=TrainSettings)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    trackers: tuple[str, ...] = ()
    folds: int = 0
    seed: int = 0
    again: bool = False
    task: str = DEFAULT


def out_for(data: Path, architecture: str | None, pretrained: Path | None, *, folds: int = 0) -> Path:
    """`runs/NETWORK-DATA`, where nothing else is asked for; a cross-validation has a folder of its own."""
    network = (architecture or (pretrained.stem if pretrained else "network")).partition("(")[0]
    network = network.rpartition(":")[2].rpartition("/")[2]
    return Path("runs") / f"{network}-{Path(os.path.realpath(data)).stem}{f'-{folds}-folds' if folds else ''}"


def settings_of(
    config: Path | None, flags: Mapping[str, Any], *, changes: Mapping[str, Any] | Sequence[str] = ()
) -> TrainSettings:
    """Settings from a YAML file, changes over it, and flags over both.

    `flags` have the fields' names, those of `augment` among them. `changes` are values by path (`augment.mixup`), or
    texts as `--set` takes them (`augment.mixup=0.2`).

    Raises one InputError with everything wrong: `bad-settings` for the file, `bad-option` for the rest.
    """
    merged = _read(config) if config is not None else {}
    problems: list[str] = []
    stated = {f"{AUGMENT}.{name}" if name in Augment.model_fields else name: value for name, value in flags.items()}
    for path, value in {**_changes(changes, problems), **stated}.items():
        _put(merged, path, value, problems)
    settings = yaml_file.validate(TrainSettings, merged, at="", problems=problems)
    if problems:
        raise InputError(
            "bad-option",
            "the training settings do not make sense",
            why="\n".join(_as_typed(problem, stated) for problem in problems),
            hint="edgecnn train --help",
        )
    overridden: TrainSettings = settings
    return overridden


def _read(config: Path) -> dict[str, Any]:
    """The file's mapping, checked alone first: its mistakes are named by their places in it."""
    problems: list[str] = []
    try:
        raw = yaml_file.read_mapping(config, what="settings")
    except InputError as error:
        error.hint = "write it as `epochs: 20`, one setting a line; the words are those of edgecnn train --help"
        raise
    yaml_file.validate(TrainSettings, raw, at="", problems=problems)
    if problems:
        raise yaml_file.file_error(config, problems, what="settings")
    if raw.get(AUGMENT) is None:
        raw.pop(AUGMENT, None)
    return raw


def _changes(changes: Mapping[str, Any] | Sequence[str], problems: list[str]) -> dict[str, Any]:
    """Values by path; a text's value is YAML, and `none` is nothing where a setting can be that."""
    if isinstance(changes, Mapping):
        return dict(changes)
    values: dict[str, Any] = {}
    for text in changes:
        path, sign, value = text.partition("=")
        if not (sign and path):
            problems.append(f"--set {text}: write it as name=value, such as augment.mixup=0.2")
            continue
        try:
            values[path] = None if path in NONE_IS_NOTHING and value.lower() == "none" else yaml_file.scalar(value)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    return values


def _put(settings: dict[str, Any], path: str, value: Any, problems: list[str]) -> None:
    """Set `augment.mixup` in nested mappings."""
    *groups, name = path.split(".")
    place: Any = settings
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            problems.append(f"{path}: '{group}' is a setting and has no others in it")
            return
    place[name] = value


def _as_typed(problem: str, flags: Mapping[str, Any]) -> str:
    """`augment.mixup: ...` as it is typed: `--mixup: ...` for a flag, else `--set augment.mixup: ...`; what is not
    about one setting as it is."""
    path, colon, rest = problem.partition(":")
    if path in flags:
        return f"--{path.removeprefix(f'{AUGMENT}.').replace('_', '-')}{colon}{rest}"
    return f"--set {problem}" if colon and " " not in path else problem
