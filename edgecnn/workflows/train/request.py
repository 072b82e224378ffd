"""What was asked for: data, network, settings; and settings from a file and from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.config import yaml_file
from edgecnn.core.errors import InputError
from edgecnn.train.settings import Augment, TrainSettings

AUGMENT = "augment"


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One `edgecnn train`. `architecture` None is the one of `pretrained`; `preprocessing` holds the fields given as
    flags; `folds` 0 is no cross-validation; `again` forgets what is in `out`."""

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


def out_for(data: Path, architecture: str | None, pretrained: Path | None, *, folds: int = 0) -> Path:
    """`runs/NETWORK-DATA`, where nothing else is asked for; a cross-validation has a folder of its own."""
    network = (architecture or (pretrained.stem if pretrained else "network")).partition("(")[0]
    network = network.rpartition(":")[2].rpartition("/")[2]
    return Path("runs") / f"{network}-{data.resolve().stem}{f'-{folds}-folds' if folds else ''}"


def settings_of(config: Path | None, flags: Mapping[str, Any]) -> TrainSettings:
    """Settings from a YAML file in the fields' words, and flags over it; a flag that is None or empty was not given.

    Flags that are no settings are passed over.

    Raises one InputError with everything wrong: `bad-settings` for the file, `bad-option` for the flags.
    """
    raw = _read(config) if config is not None else {}
    known = {*TrainSettings.model_fields, *Augment.model_fields}
    given = {name: value for name, value in flags.items() if name in known and value not in (None, [], ())}
    if str(given.get("clip_norm", "")).lower() == "none":
        given["clip_norm"] = None
    varied = {name: given.pop(name) for name in list(given) if name in Augment.model_fields}
    merged = {**raw, **given}
    if varied:
        merged[AUGMENT] = {**raw.get(AUGMENT, {}), **varied}
    problems: list[str] = []
    settings = yaml_file.validate(TrainSettings, merged, at="", problems=problems)
    if problems:
        raise InputError(
            "bad-option",
            "the training settings do not make sense",
            why="\n".join(map(_flag, problems)),
            hint="edgecnn train --help",
        )
    found: TrainSettings = settings
    return found


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


def _flag(problem: str) -> str:
    """`augment.crop_padding: ...` as it is typed: `--crop-padding: ...`; what is not about one field as it is."""
    path, colon, rest = problem.partition(":")
    name = path.removeprefix(f"{AUGMENT}.")
    known = name in TrainSettings.model_fields or name in Augment.model_fields
    return f"--{name.replace('_', '-')}{colon}{rest}" if known else problem
