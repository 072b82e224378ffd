"""Inspection of an exported file: inputs, outputs, operators, the type each layer's weights have, metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName, TensorSpec
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Model
from edgecnn.formats.registry import format_named
from edgecnn.tasks.task import DEFAULT

METADATA_KEY = "edgecnn"
"""Under which a file's metadata holds what `about` reads."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """`operators` counts operator types; `layers` counts the layers with weights by the type the weights are stored in;
    `size_bytes` is that of the file (and of external data beside it)."""

    format: FormatName
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: str
    operators: Mapping[str, int]
    layers: Mapping[str, int]
    size_bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    """The JSON that edgecnn wrote into the file when it exported it: see `described`."""

    def exported_as(self) -> dict[str, Any]:
        """`about` as a dictionary; empty for a file of other origin."""
        try:
            found = json.loads(self.about or "{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "about"}


def described(model: Model, preprocessing: Preprocessing, task: str) -> dict[str, Any]:
    """What an exporter writes into a file under `METADATA_KEY`. A file that names no task is a classifier."""
    about: dict[str, Any] = {"model": model.name, "preprocessing": preprocessing.to_dict()}
    if names := getattr(model, "class_names", None):
        about["class_names"] = list(names)
    return about if task == DEFAULT else {**about, "task": task}


def read(path: Path, format: FormatName) -> ExportedModel:
    """Read a file of a format. Raises InputError when it is damaged, MissingError without the format's packages."""
    found: ExportedModel = plugins.resolve(format_named(format).read)(path)
    return found
