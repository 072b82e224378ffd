"""Shapes of a model's inputs where its file leaves sizes free: those that were asked for, or usual ones, announced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import Artifact, TensorSpec
from edgecnn.core.errors import EdgecnnError, InputError, did_you_mean
from edgecnn.core.events import Listener, Warned
from edgecnn.formats.inspect import ExportedModel, read
from edgecnn.formats.registry import format_named
from edgecnn.probe.specs import layout_of

Shape = tuple[int, ...]
USUAL_EDGE = 224
"""Pixels, where neither the file nor the user says how large an image is."""
USUAL_CHANNELS = 3
SHAPE = re.compile(r"(?:(?P<name>.*):)?(?P<sizes>[1-9][0-9]{0,6}(?:x[1-9][0-9]{0,6})*)")
LARGEST = 1 << 30
"""Numbers that one input may have."""


def shapes_of(texts: str | Sequence[str] | None) -> dict[str, Shape]:
    """`input:1x3x320x320` and so on, by input; the name is empty where there is none. Raises InputError bad-option."""
    found: dict[str, Shape] = {}
    for text in [texts] if isinstance(texts, str) else texts or ():
        match = SHAPE.fullmatch(text)
        sizes = tuple(map(int, match["sizes"].split("x"))) if match else ()
        total = 1
        for size in sizes:
            total *= size
        name = (match["name"] or "") if match else ""
        if not sizes or total > LARGEST or name in found:
            why = f"'{name}' is given twice" if name in found else ""
            raise InputError(
                "bad-option",
                f"cannot read --shape {text}",
                why=why,
                hint="write the input's name and its sizes: --shape input:1x3x320x320",
            )
        found[name] = sizes
    return found


def chosen_shapes(
    artifacts: Sequence[Artifact], asked: Mapping[str, Shape], batches: Sequence[int], *, listener: Listener
) -> dict[tuple[Path, int], dict[str, list[int]]]:
    """Of each file at each batch size the shapes of its inputs; empty where a free batch is all there is to fill in.

    Raises InputError `no-such-input` where no file has an input that `asked` names, `wrong-shape` where its sizes are
    others in the file.
    """
    held = {artifact.path: _held(artifact) for artifact in artifacts}
    unused = set(asked)
    chosen: dict[tuple[Path, int], dict[str, list[int]]] = {}
    for path, model in held.items():
        inputs = model.inputs if model else ()
        mine = {_name(name, inputs): shape for name, shape in asked.items() if _fits(name, inputs)}
        unused -= {name for name in asked if _fits(name, inputs)}
        for spec in inputs:
            if spec.name in mine:
                _validate(path, spec, mine[spec.name], batches)
        for batch in batches:
            filled = _filled(model, mine, batch) if model else {}
            chosen[path, batch] = filled
            if batch == batches[0]:
                _announce(path, model, filled, mine, listener)
    if unused and all(model is not None for model in held.values()):
        raise _no_such_input(min(unused), held)
    if unused:  # a file that only its runtime can read: it is told what was asked for
        for path, model in held.items():
            if model is None:
                for batch in batches:
                    chosen[path, batch] = {name: list(asked[name]) for name in unused}
    return chosen


def _held(artifact: Artifact) -> ExportedModel | None:
    """What the file says of its inputs; None where it cannot be read here: its runtime will say what is wrong."""
    try:
        return read(artifact.path, artifact.format) if format_named(artifact.format).read else None
    except EdgecnnError:
        return None


def _fits(name: str, inputs: Sequence[TensorSpec]) -> bool:
    return (not name and len(inputs) == 1) or any(spec.name == name for spec in inputs)


def _name(name: str, inputs: Sequence[TensorSpec]) -> str:
    return name or inputs[0].name


def _validate(path: Path, spec: TensorSpec, shape: Shape, batches: Sequence[int]) -> None:
    known = all(isinstance(size, int) or size != "..." for size in spec.shape)
    fixed = [size for size, own in zip(shape, spec.shape, strict=False) if isinstance(own, int) and own != size]
    if known and (len(shape) != len(spec.shape) or fixed):
        raise InputError(
            "wrong-shape",
            f"{path.name} does not take {_text(shape)} as '{spec.name}'",
            why=f"it takes {_text(spec.shape)}",
            hint="--shape fills in the sizes that the file leaves free",
        )
    if layout_of(spec.shape) and shape[0] not in batches:
        raise InputError(
            "wrong-shape",
            f"--shape says {shape[0]} images at a time, and --batch {', '.join(map(str, batches))}",
            hint=f"--batch {shape[0]}",
        )


def _filled(model: ExportedModel, asked: Mapping[str, Shape], batch: int) -> dict[str, list[int]]:
    """All inputs with all their sizes. A size of one name is the same everywhere."""
    inputs = model.inputs
    firsts = [spec.shape[0] for spec in inputs if spec.shape]
    named = {str(first): batch for first in firsts if _is_name(first)}
    for spec in inputs:
        for own, size in zip(spec.shape, asked.get(spec.name, ()), strict=False):
            if _is_name(own):
                named[str(own)] = size
    if not asked and all(isinstance(size, int) for spec in inputs for size in spec.shape[1:]):
        return {}
    if any("..." in spec.shape for spec in inputs if spec.name not in asked):
        return {name: list(shape) for name, shape in asked.items()}
    edges = _edges(model)
    return {
        spec.name: list(asked[spec.name]) if spec.name in asked else list(_usual(spec, named, batch, edges))
        for spec in inputs
    }


def _is_name(size: int | str) -> bool:
    """Whether the file gives a free size a name, by which other sizes are the same."""
    return isinstance(size, str) and size not in ("?", "...", "")


def _usual(spec: TensorSpec, named: Mapping[str, int], batch: int, edges: tuple[int, int]) -> Iterator[int]:
    """Sizes for what is free: the batch, three channels, the height and width of an image, else 1."""
    rows, columns, channels = (1, 2, 3) if layout_of(spec.shape) == "NHWC" else (2, 3, 1)
    image = {rows: edges[0], columns: edges[1], channels: USUAL_CHANNELS} if len(spec.shape) == 4 else {}
    for axis, size in enumerate(spec.shape):
        if isinstance(size, int):
            yield size
        else:
            yield named.get(str(size), batch if axis == 0 else image.get(axis, 1))


def _edges(model: ExportedModel) -> tuple[int, int]:
    """Height and width that the file's metadata state."""
    stated: Any = model.exported_as().get("preprocessing")
    crop = stated.get("crop") if isinstance(stated, Mapping) else None
    if isinstance(crop, list) and len(crop) == 2 and all(type(side) is int and 0 < side <= 4096 for side in crop):
        return crop[0], crop[1]
    return USUAL_EDGE, USUAL_EDGE


def _announce(
    path: Path,
    model: ExportedModel | None,
    filled: Mapping[str, list[int]],
    asked: Mapping[str, Shape],
    listener: Listener,
) -> None:
    """Say which shapes were chosen for inputs that nobody asked for."""
    free = [
        spec
        for spec in (model.inputs if model else ())
        if spec.name in filled and spec.name not in asked and not all(isinstance(size, int) for size in spec.shape[1:])
    ]
    if free:
        said = ", ".join(f"'{spec.name}' {_text(spec.shape)} as {_text(filled[spec.name])}" for spec in free)
        hint = " ".join(f"--shape {spec.name}:{_text(filled[spec.name])}" for spec in free)
        listener(Warned("free-sizes", f"{path.name} leaves sizes free: {said}", f"to choose others: {hint}"))


def _no_such_input(name: str, held: Mapping[Path, ExportedModel | None]) -> InputError:
    names = sorted({spec.name for model in held.values() if model for spec in model.inputs})
    if not name:
        return InputError(
            "no-such-input",
            "--shape does not say which input it is for",
            why=f"inputs: {', '.join(names)}",
            hint=f"--shape {names[0]}:1x3x224x224" if names else "",
        )
    return InputError("no-such-input", f"no input is called '{name}'", hint=did_you_mean(name, names))


def _text(shape: Sequence[int | str]) -> str:
    return "x".join(map(str, shape)) or "a single number"
