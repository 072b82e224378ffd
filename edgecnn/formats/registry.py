"""Formats: what is known of each kind of model file and of the runtime it is for, one `Format` value each.

A value stands in the `__init__` of the format's own folder and is found by one line in the entry-point group
`edgecnn.formats`. Whatever depends on a format's or a runtime's name reads it here; knowing a value imports no runtime.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from platform import machine
from typing import Any

from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName, Precision
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, did_you_mean
from edgecnn.core.packages import Package
from edgecnn.probe import backends

GROUP = "formats"


@dataclass(frozen=True, slots=True)
class StandIn:
    """The backend that computes a format's files as they are written where the format's own backend cannot run."""

    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeCheck:
    """What `edgecnn doctor` tries: `code` runs in a fresh Python where `modules` are installed, and `proves` that."""

    modules: tuple[str, ...]
    proves: str
    code: str


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of model file and its runtime. Kernels are `package.module:function`, imported when they are used.

    `export(model, out, *, preprocessing) -> Artifact` writes the FP32 file; a format without it is only run.
    `quantize(source, out, *, options, context) -> Artifact` writes INT8, `cast(source, out) -> Artifact` FP16,
    `lint(artifact) -> Fusion` says what the runtime leaves in float, `read(path) -> ExportedModel` what a file holds,
    `activations(path, image) -> Mapping[str, np.ndarray]` gives every tensor that an FP32 file computes for one image,
    float32, channels before rows and columns,
    `trace(rows, graph, path) -> list[Node]` what the operators are that the runtime has timed,
    `qat(source, *, options, context) -> PreparedNetwork` makes a float file trainable,
    `readme(artifact, preprocessing) -> str` gives a part of a bundle's README,
    `wheels(platform) -> list[str] | None` names what pip installs on a board.
    """

    name: FormatName
    title: str
    """The name of the file format that people know: "TFLite"."""
    suffix: str
    backend: str
    """The probe's backend that runs it."""
    family: str
    """The rules its INT8 files are quantized by."""
    runtime: str
    """The name of the runtime that people know: "LiteRT"."""
    rank: int = 100
    """Its place in lists; the lowest stands first."""
    dialect: str = ""
    """Added to file names where another format has the same suffix: `model.tensorrt.int8.onnx`."""
    recognises: Callable[[bytes], bool] | None = None
    """Whether a file that begins with these 512 bytes is one."""

    export: str = ""
    quantize: str = ""
    cast: str = ""
    lint: str = ""
    read: str = ""
    activations: str = ""
    trace: str = ""
    qat: str = ""
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    quantize_options: frozenset[str] = frozenset()
    """Options of the stage `quantize` that mean something to this format alone."""

    saturates: str = ""
    """`function() -> bool`: whether sums of 8-bit products overflow in the kernels that run the files here."""

    extra: str = ""
    """The extra of edgecnn that brings `packages`."""
    packages: tuple[Package, ...] = ()
    needs: tuple[str, ...] = ()
    """The modules, of those packages, without which no file can be made."""
    tools: tuple[str, ...] = ()
    """Distributions whose versions decide what a file holds and what it answers on this host."""
    platforms: tuple[tuple[str, str], ...] = ()
    """(sys.platform, machine) that `packages` exist for; empty: all."""
    check: RuntimeCheck | None = None

    stand_in: StandIn | None = None
    """Set where `backend` runs on boards only."""
    on_gpu: bool = False
    build_s: float = 0.0
    """How much longer a first run may take because the runtime builds an engine."""
    backend_module: str = ""
    """A backend that the probe does not have: this module's source travels with it, and in bundles."""

    requirements: tuple[str, ...] = ()
    """What pip installs beside numpy and Pillow to run a bundle."""
    readme: str = ""
    lint_counts_pairs: bool = False
    """Whether `lint` counts layers with Q/DQ pairs, for the runtime chooses its kernels on the board."""
    board_check: str = ""
    """`function(device) -> Iterator[Diagnostic]`, the runtime first, in place of a look at `board_packages`."""
    board_packages: tuple[str, ...] = ()
    """Packages on a board that run the backend: the first that works does."""
    wheels: str = ""

    @property
    def runs_here(self) -> bool:
        """Whether this host can run the files in their own runtime."""
        return self.stand_in is None

    @property
    def backend_here(self) -> str:
        """The backend that computes the files on this host."""
        return self.stand_in.backend if self.stand_in else self.backend

    def backend_options(self, backend: str) -> dict[str, Any]:
        """The options with which `backend` computes the files as they are written."""
        return dict(self.stand_in.options) if self.stand_in and self.stand_in.backend == backend else {}

    def missing_extra(self) -> str | None:
        """The extra to install before a file can be made; None when nothing is missing."""
        return self.extra if any(find_spec(module) is None for module in self.needs) else None

    def unavailable(self) -> str:
        """Why `packages` cannot be installed on this host; empty when they can."""
        if not self.platforms or (sys.platform, machine()) in self.platforms:
            return ""
        systems = {"linux": "Linux", "win32": "Windows", "darwin": "macOS"}
        places = [f"{systems.get(system, system)} on {cpu.replace('_', '-')}" for system, cpu in self.platforms]
        return f"made for {' and '.join(places)} only"


@cache
def known_formats() -> tuple[Format, ...]:
    """Every format that is registered, also those that are only run (`torch`)."""
    found: list[Format] = plugins.every(GROUP)
    return tuple(sorted(found, key=lambda item: (item.rank, item.name)))


def formats() -> tuple[Format, ...]:
    """The formats that can be made from a checkpoint, in the order of lists."""
    return tuple(item for item in known_formats() if item.export)


def format_named(name: FormatName) -> Format:
    """Raises InputError unknown-format with the nearest names, MissingError broken-plugin."""
    found = next((item for item in known_formats() if item.name == name), None)
    if found is None:
        raise no_format(name)
    return found


def no_format(name: str) -> EdgecnnError:
    """Why there is no format of that name: its plug-in is broken, or nothing is called so."""
    for item in plugins.broken(GROUP):
        if item.name == name:
            return item.error()
    names = [item.name for item in formats()]
    return InputError("unknown-format", f"no format is called '{name}'", hint=did_you_mean(name, names))


def format_of_family(family: str) -> Format:
    """The format whose rules a quantization family is. Raises InputError unknown-family."""
    found = next((item for item in formats() if item.family == family), None)
    if found is None:
        names = [item.family for item in formats()]
        raise InputError(
            "unknown-family", f"no quantization family is called '{family}'", hint=did_you_mean(family, names)
        )
    return found


def format_of_backend(backend: str) -> Format | None:
    """The format that `backend` is there for; None for one that is there for none, such as `null`."""
    return next((item for item in known_formats() if item.backend == backend), None)


def runtime_title(backend: str) -> str:
    """The name of a backend's runtime that people know: "ONNX Runtime"."""
    found = format_of_backend(backend)
    return found.runtime if found else backend


def runs_on_gpu(backend: str) -> bool:
    """Whether a backend computes on a board's GPU."""
    found = format_of_backend(backend)
    return found is not None and found.on_gpu


def build_s(backend: str) -> float:
    """How much longer a backend's first run on a board may take, s: it builds an engine."""
    found = format_of_backend(backend)
    return found.build_s if found else 0.0


def backend_here(backend: str) -> str:
    """A backend itself, or what stands in for it on this host."""
    found = format_of_backend(backend)
    return found.backend_here if found else backend


def runtime_packages() -> tuple[str, ...]:
    """The distributions of the runtimes that compute files on this host."""
    return tuple(dict.fromkeys(name for item in known_formats() for name in item.requirements))


def format_packages() -> tuple[str, ...]:
    """The distributions that formats need, those of the core among them."""
    names = [(*item.tools, *(package.distribution for package in item.packages)) for item in known_formats()]
    return tuple(dict.fromkeys(name for group in names for name in group))


def backend_source(backend: str) -> Path:
    """The source of a backend of the probe, or of a format's own."""
    found = format_of_backend(backend)
    if found is None or not found.backend_module:
        return Path(backends.__file__).parent / f"{backend}.py"
    spec = find_spec(found.backend_module)
    if spec is None or spec.origin is None:
        raise MissingError("no-backend", f"{found.backend_module}, which runs {found.name} files, is not installed")
    return Path(spec.origin)


def runs_here(backend: str) -> bool:
    """Whether this host can run a backend."""
    found = format_of_backend(backend)
    return found is None or found.runs_here


def formats_of_suffix(suffix: str) -> tuple[Format, ...]:
    """The formats of files that end like this; the dialects of another format stand behind it."""
    return tuple(item for item in known_formats() if item.suffix == suffix.lower())
