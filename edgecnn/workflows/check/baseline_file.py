"""Baseline file: what a model answered to a set of images, small and readable, for a repository.

    baselines/NAME.json   facts and figures as text; the answers packed (zlib, base64), one line for each hundred bytes

A file states its own digest, so that an edit by hand is noticed. Its shape is `SCHEMA`.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.errors import InputError
from edgecnn.core.paths import require_regular
from edgecnn.core.store import digest_of, make_folder, write_atomically
from edgecnn.report.check.model import CheckedModel

NAME, NUMBER = "edgecnn.baseline", 1
SCHEMA = f"{NAME}/{NUMBER}"
LINE = 100
LARGEST_BYTES = 64 << 20
"""Of packed answers, unpacked: a baseline is small."""


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """What was written. `images` are (name below the data folder, sha256 of the file) in the order of the answers;
    `labels` the class name of each, or None; `answers` what the task packed, by name."""

    model: CheckedModel
    task: str
    classes: tuple[str, ...]
    data: Mapping[str, Any]
    versions: Mapping[str, str]
    figures: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, str], ...]
    labels: tuple[str, ...] | None
    answers: Mapping[str, np.ndarray]
    created: str

    def save(self, path: Path) -> None:
        """Write it. Raises CannotWrite."""
        raw = self._raw()
        make_folder(path.parent)
        write_atomically(path, json.dumps({**raw, "digest": digest_of(raw)}, indent=1, ensure_ascii=False) + "\n")

    def _raw(self) -> dict[str, Any]:
        model = {name: value for name, value in asdict(self.model).items() if name != "path"}
        return {
            "schema": SCHEMA,
            "created": self.created,
            "model": model,
            "task": self.task,
            "classes": list(self.classes),
            "versions": dict(self.versions),
            "data": dict(self.data),
            "figures": dict(self.figures),
            "images": _packed(json.dumps([self.images, self.labels]).encode()),
            "answers": {
                name: {"type": str(array.dtype), "shape": list(array.shape), "packed": _packed(array.tobytes())}
                for name, array in self.answers.items()
            },
        }


def load(path: Path) -> BaselineFile:
    """Read a baseline file. Raises InputError: no such file, no baseline, a newer one, damaged, or edited by hand."""
    try:
        require_regular(path)
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "no-baseline",
            f"there is no baseline at {path}",
            why=error.strerror or str(error),
            hint=f"make one: edgecnn check MODEL --data DIR --save {path}",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    kind, _, number = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if kind != NAME or not (number.isascii() and number.isdecimal()):
        raise InputError(
            "not-a-baseline",
            f"{path} is no baseline file",
            why=f"its schema is {schema!r}",
            hint="give a file that --save wrote",
        )
    if int(number) > NUMBER:
        raise InputError(
            "newer-report",
            f"{path} was written by a newer edgecnn",
            why=f"its schema is {schema}, not {SCHEMA}",
            hint='upgrade: pip install --upgrade "edgecnn"',
        )
    stated = raw.pop("digest", None)
    if stated != digest_of(raw):
        raise InputError(
            "edited-baseline",
            f"{path} was changed after it was written",
            why="its digest is not that of its content",
            hint="restore it from the repository, or: edgecnn check MODEL --data DIR --save FILE",
        )
    try:
        return _read(raw)
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, binascii.Error, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _read(raw: Mapping[str, Any]) -> BaselineFile:
    images, labels = json.loads(_unpacked(raw["images"]))
    arrays = {}
    for name, held in raw["answers"].items():
        kind = np.dtype(held["type"])
        if kind.kind not in "uif":
            raise ValueError(f"answers of type {kind}")
        arrays[str(name)] = np.frombuffer(_unpacked(held["packed"]), kind).reshape(held["shape"])
    names = tuple((str(name), str(digest)) for name, digest in images)
    if any(len(array) != len(names) for array in arrays.values()) or (labels and len(labels) != len(names)):
        raise ValueError("the answers are not one for each image")
    return BaselineFile(
        model=CheckedModel(**raw["model"]),
        task=str(raw["task"]),
        classes=tuple(map(str, raw["classes"])),
        data=dict(raw["data"]),
        versions={str(name): str(version) for name, version in raw["versions"].items()},
        figures=tuple((str(name), str(figure)) for name, figure in raw["figures"].items()),
        images=names,
        labels=None if labels is None else tuple(map(str, labels)),
        answers=arrays,
        created=str(raw["created"]),
    )


def _packed(raw: bytes) -> list[str]:
    text = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    return [text[start : start + LINE] for start in range(0, len(text), LINE)]


def _unpacked(lines: Sequence[str]) -> bytes:
    reader = zlib.decompressobj()
    raw = reader.decompress(base64.b64decode("".join(lines), validate=True), LARGEST_BYTES)
    if reader.unconsumed_tail or not reader.eof:
        raise ValueError(f"more than {LARGEST_BYTES >> 20} MiB, or cut off")
    return raw


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        "damaged-report",
        f"{path} is damaged",
        why=why,
        hint="restore it, or: edgecnn check MODEL --data DIR --save FILE",
    )
