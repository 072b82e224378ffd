"""Inspect: what a checkpoint or an exported model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.formats.inspect import read
from edgecnn.formats.registry import known_formats
from edgecnn.models import open_model
from edgecnn.models.cost import macs
from edgecnn.models.files import kind_of
from edgecnn.workflows.arguments import PathLike


@dataclass(frozen=True, slots=True)
class Inspection:
    """A file and its facts by name: architecture, classes, shapes, precision, parameters, multiply-accumulates."""

    file: Path
    facts: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def to_dict(self) -> dict[str, Any]:
        return {"file": str(self.file), **self.facts}


def inspect(file: PathLike, *, model: str | None = None, weights: str | None = None) -> Inspection:
    """Say what a file is. `model` names a checkpoint's network where the file does not, `weights` which of several in
    it. Raises InputError or MissingError."""
    file = Path(file)
    kind = kind_of(file)
    if kind in [item.name for item in known_formats()]:
        return Inspection(file, read(file, kind).to_dict())
    loaded = open_model(file, architecture=model, weights=weights)
    facts = {
        "format": "torch",
        "form": loaded.form,
        "architecture": loaded.name,
        "num_classes": loaded.num_classes,
        "input_shape": list(loaded.input_shape),
        "parameters": loaded.parameters,
        "macs": macs(loaded),
        "dtype": loaded.dtype,
        "preprocessing": loaded.preprocessing.to_dict() if loaded.preprocessing else None,
        "preprocessing_source": loaded.preprocessing_source,
        "class_names": list(loaded.class_names) if loaded.class_names else None,
        "size_bytes": file.stat().st_size,
        "sha256": loaded.sha256,
        "notes": list(loaded.notes),
    }
    return Inspection(file, facts)
