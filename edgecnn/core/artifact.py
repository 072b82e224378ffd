"""A model file, what it takes and gives, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

FormatName = str
"""A format that is registered under `edgecnn.formats`: `onnx`, `tensorrt`, `tflite`; `torch` is a checkpoint."""
DEFAULT_FORMAT: FormatName = "onnx"
"""What a single step writes unless another format is asked for."""
Precision = Literal["fp32", "fp16", "int8"]


class Kind(NamedTuple):
    """What decides which stage may follow: format and precision, never a neighbour's name.

    `variant` tells a changed network from the checkpoint's own, whose variant is empty: "pruned", "qat".
    """

    format: FormatName
    precision: Precision
    variant: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the checkpoint's own network in FP32: what everything else is compared with."""
        return self.precision == "fp32" and not self.variant


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. `shape` holds ints, or a name where the size is free; `layout` is NCHW, NHWC or None."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TensorSpec:
        return cls(raw["name"], tuple(raw["shape"]), raw["dtype"], raw.get("layout"))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file on disk. `sha256` is of its bytes; `history` names the stages that made it, oldest first.

    Format `tensorrt` is an ONNX file in the dialect TensorRT accepts: engines belong to one GPU and one TensorRT
    version and are built on the device.
    """

    path: Path
    format: FormatName
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    history: tuple[str, ...] = ()
    variant: str = ""

    @property
    def kind(self) -> Kind:
        return Kind(self.format, self.precision, self.variant)

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def at(self, path: Path) -> Artifact:
        """The same bytes at another place."""
        return replace(self, path=path)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": self.path.name, "history": list(self.history)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], folder: Path) -> Artifact:
        return cls(
            path=folder / raw["path"],
            format=raw["format"],
            precision=raw["precision"],
            inputs=tuple(TensorSpec.from_dict(spec) for spec in raw["inputs"]),
            outputs=tuple(TensorSpec.from_dict(spec) for spec in raw["outputs"]),
            sha256=raw["sha256"],
            history=tuple(raw["history"]),
            variant=raw.get("variant", ""),
        )


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(stream)


def _sha256(stream: Any) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
