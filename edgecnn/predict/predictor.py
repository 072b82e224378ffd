"""Predictor: a checkpoint in PyTorch, or an exported model in the runtime that will run it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.core.artifact import Artifact
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.data.preprocessing import Source, settle_preprocessing
from edgecnn.formats.registry import format_named, formats_of_suffix, known_formats, runtime_title
from edgecnn.models.files import kind_of
from edgecnn.probe.facts import usable_cores
from edgecnn.probe.specs import layout_of
from edgecnn.tasks.task import DEFAULT

if TYPE_CHECKING:
    import numpy as np

    from edgecnn.formats.inspect import ExportedModel
    from edgecnn.models import LoadedModel

USUAL_EDGE = 224
"""Taken where a file leaves its input size free and no flag gives it."""
TORCH_DEVICE = re.compile(r"(cpu|mps|cuda(:\d{1,3})?)")


@dataclass(frozen=True, slots=True)
class TorchPredictor:
    """A checkpoint. `device` is PyTorch's."""

    model: LoadedModel
    preprocessing: Preprocessing
    preprocessing_source: str
    device: str
    threads: int

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.model.class_names

    @property
    def task(self) -> None:
        """A checkpoint does not say what it is for."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        return self.model.notes

    @property
    def runtime(self) -> str:
        return f"PyTorch on {self.device}"

    def facts(self) -> dict[str, Any]:
        return {"format": "torch", "architecture": self.model.name, "sha256": self.model.sha256}

    def predict(self, images: Images, *, listener: Listener) -> np.ndarray:
        """Outputs for all images, float32 (N, ...)."""
        from edgecnn.predict.torch import forward

        shape = self.preprocessing.crop
        return forward(
            self.model.module(), images, shape=shape, device=self.device, threads=self.threads, listener=listener
        )


@dataclass(frozen=True, slots=True)
class RuntimePredictor:
    """An exported file, run by the probe on `target`: this host, or a board. `threads` are all of it unless given."""

    artifact: Artifact
    preprocessing: Preprocessing
    preprocessing_source: str
    target: DeviceProfile
    backend: str
    threads: int | None
    num_classes: int
    name: str
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    task: str | None = None
    """What the file says its network is for."""

    @property
    def runtime(self) -> str:
        place = f"{runtime_title(self.backend)} on {self.target.name}"
        format = format_named(self.artifact.format)
        if format.stand_in and self.backend == format.stand_in.backend:
            return f"{place}, a stand-in for {format.runtime}: computed as the file is written"
        return place

    def facts(self) -> dict[str, Any]:
        return {"format": self.artifact.format, "architecture": self.name, "sha256": self.artifact.sha256}

    def predict(self, images: Images, *, listener: Listener) -> np.ndarray:
        """Outputs for all images, float32 (N, ...)."""
        from edgecnn.measure.connection import connect
        from edgecnn.predict.runtime import run_file

        with connect(self.target, [self.backend]) as connection:
            return run_file(
                self.artifact,
                images,
                backend=self.backend,
                threads=self.threads or connection.usable_cores,
                listener=listener,
                device=connection.device,
                preprocessing=self.preprocessing,
            )


Predictor = TorchPredictor | RuntimePredictor


def open_predictor(source: Source, *, device: str | None, threads: int | None, listener: Listener) -> Predictor:
    """Open what `source.checkpoint` names, or the network in memory.

    Its preprocessing is from the flags, the file, or a guess with a warning.

    `device` is this host unless given: PyTorch's name for a checkpoint (cpu, cuda, cuda:1, mps), one of the user's
    boards for an exported file. `threads` are all usable cores unless given. Raises InputError or MissingError.
    """
    kind = None if source.network is not None else kind_of(source.checkpoint)
    if kind in [item.name for item in known_formats()]:
        return _exported(source, kind, device=device, threads=threads, listener=listener)
    return _checkpoint(source, device=device, threads=threads or usable_cores(), listener=listener)


def _checkpoint(source: Source, *, device: str | None, threads: int, listener: Listener) -> TorchPredictor:
    from edgecnn.models.open import in_memory, open_model

    where = "cpu" if device in (None, "host") else device
    if not TORCH_DEVICE.fullmatch(where):
        raise InputError(
            "needs-export",
            f"a checkpoint is evaluated in PyTorch, on this host, not on {device}",
            hint=f"edgecnn export {source.checkpoint}, then evaluate that file; or --device cuda",
        )
    if source.network is not None:
        model = in_memory(source.network, source.stated_size, source.stated_channels, classifies=source.task == DEFAULT)
    else:
        model = open_model(
            source.checkpoint,
            architecture=source.architecture,
            weights=source.weights,
            size=source.stated_size,
            channels=source.stated_channels,
            classifies=source.task == DEFAULT,
        )
    stated = (model.preprocessing, model.preprocessing_source) if model.preprocessing is not None else None
    preprocessing, origin = settle_preprocessing(stated, model.input_shape, source, listener=listener)
    return TorchPredictor(model.with_preprocessing(preprocessing), preprocessing, origin, where, threads)


def _exported(
    source: Source, kind: str, *, device: str | None, threads: int | None, listener: Listener
) -> RuntimePredictor:
    from edgecnn.config.devices import load_device
    from edgecnn.formats.files import open_artifact
    from edgecnn.formats.inspect import read
    from edgecnn.measure.candidates import runtime_of
    from edgecnn.models.facts import class_names

    for option, value in (("--model", source.architecture), ("--weights", source.weights)):
        if value is not None:
            raise InputError(
                "option-without-effect",
                f"{option} {value} does nothing for {source.checkpoint.name}",
                why="an exported file holds its network",
                hint=f"leave out {option}",
            )
    artifact = open_artifact(source.checkpoint)
    dialects = {f".{item.dialect}": item.name for item in formats_of_suffix(artifact.path.suffix) if item.dialect}
    named = [dialects[part] for part in source.checkpoint.suffixes if part in dialects]
    artifact = replace(artifact, format=named[0] if named else artifact.format)
    target = load_device(device or "host")
    held = read(source.checkpoint, kind)
    about = held.exported_as()
    stated, notes = _stated(about)
    num_classes = _outputs(source.checkpoint, held)
    names, doubt = class_names(about, num_classes)
    channels, height, width = _input_shape(source.checkpoint, held)
    usual = (channels, height or USUAL_EDGE, width or USUAL_EDGE)
    preprocessing, origin = settle_preprocessing(stated, usual, source, listener=listener)
    crop = preprocessing.crop
    if (preprocessing.channels, *crop) != (channels, height or crop[0], width or crop[1]):
        raise InputError(
            "wrong-size",
            f"{source.checkpoint.name} does not take {preprocessing.channels} x {crop[0]} x {crop[1]}",
            why=f"it takes {channels} channels of {height or 'any'} x {width or 'any'} pixels",
            hint=f"--crop {usual[1]}x{usual[2]} --color {'L' if channels == 1 else 'RGB'}",
        )
    return RuntimePredictor(
        artifact=artifact,
        preprocessing=preprocessing,
        preprocessing_source=origin,
        target=target,
        backend=runtime_of(artifact, target),
        threads=threads,
        num_classes=num_classes,
        name=str(about.get("model") or "unknown"),
        class_names=names,
        notes=(*notes, *([doubt] if doubt else [])),
        task=str(about["task"]) if about.get("task") else None,
    )


def _stated(about: Mapping[str, Any]) -> tuple[tuple[Preprocessing, str] | None, tuple[str, ...]]:
    """The preprocessing in the file and where it is from, and a note where it makes no sense."""
    raw = about.get("preprocessing")
    if not isinstance(raw, Mapping):
        return None, ()
    try:
        return (Preprocessing.from_dict(raw), "the file"), ()
    except InputError as error:
        return None, (f"the preprocessing in the file was left aside: {error.why or error.message}",)


def _input_shape(path: Path, held: ExportedModel) -> tuple[int, int | None, int | None]:
    """(channels, height, width) of the one image input; None where a side is free."""
    shape = held.inputs[0].shape if len(held.inputs) == 1 else ()
    layout = layout_of(shape)
    sides = shape[1:] if layout == "NCHW" else (shape[3], *shape[1:3]) if layout == "NHWC" else ()
    if not sides or not isinstance(sides[0], int):
        raise InputError(
            "not-a-classifier",
            f"{path.name} does not take one image tensor",
            why="its inputs: " + ", ".join(f"{item.name} {list(item.shape)}" for item in held.inputs),
            hint=f"edgecnn inspect {path}",
        )
    height, width = (side if isinstance(side, int) and side > 0 else None for side in sides[1:])
    return sides[0], height, width


def _outputs(path: Path, held: ExportedModel) -> int:
    """How many classes the first output has."""
    sides = held.outputs[0].shape[1:] if held.outputs else ()
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(
            "unknown-classes",
            f"{path.name} does not say how many classes it has",
            why=f"its outputs: {', '.join(f'{item.name} {list(item.shape)}' for item in held.outputs) or 'none'}",
            hint="export it again with fixed outputs: only the batch may be free",
        )
    return prod(int(side) for side in sides)
