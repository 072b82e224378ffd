"""`edgecnn inspect`: what a checkpoint or an exported model is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command
from edgecnn.core.units import first_few

if TYPE_CHECKING:
    from edgecnn.workflows.inspect import Inspection


@command("edgecnn.workflows.inspect:inspect", printer=lambda inspection, _: _table(inspection))
def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint (.pth, .pt, .safetensors, .pt2), .onnx or .tflite file.")],
    model: Annotated[
        str | None, typer.Option(help="resnet50, timm:NAME, path/to/file.py:factory or pkg.module:factory.")
    ] = None,
    weights: options.WeightsName = None,
    json: options.PrintJson = False,
) -> None:
    """Say what a file is: architecture, classes, shapes, precision, parameters, multiply-accumulates."""


def _table(inspection: Inspection) -> Any:
    from rich.table import Table

    table = Table(title=inspection.file.name, show_header=False, box=None, pad_edge=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in inspection.facts.items():
        if value not in (None, "", [], {}, ()):
            table.add_row(_LABELS.get(key, key.replace("_", " ")), _text(key, value))
    return table


_LABELS = {
    "num_classes": "classes",
    "input_shape": "input (C x H x W)",
    "macs": "MACs",
    "size_bytes": "size",
    "layers": "weights",
}


def _text(key: str, value: Any) -> str:
    if key in _WORDED:
        return _WORDED[key](value)
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_short(str(item))}" for name, item in value.items())
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."


def _preprocessing(value: dict[str, Any]) -> str:
    height, width = value["crop"]
    resize = "stretch" if value["stretch"] else f"resize {value['resize']}" if value["resize"] else "no resize"
    mean, std = (" ".join(f"{item:g}" for item in value[key]) for key in ("mean", "std"))
    return f"{resize} ({value['interpolation']}), crop {height} x {width}, {value['color']}, mean {mean}, std {std}"


def _tensors(value: Any) -> str:
    return "\n".join(f"{item['name']}  {' x '.join(map(str, item['shape']))}  {item['dtype']}" for item in value)


_WORDED: dict[str, Callable[[Any], str]] = {
    "size_bytes": lambda value: f"{value / 1e6:.2f} MB",
    "parameters": lambda value: f"{value / 1e6:,.2f} million",
    "macs": lambda value: f"{value / 1e6:,.2f} million",
    "input_shape": lambda value: " x ".join(map(str, value)),
    "class_names": lambda value: first_few(value, 8),
    "inputs": _tensors,
    "outputs": _tensors,
    "layers": lambda value: ", ".join(f"{count} layers {dtype}" for dtype, count in value.items()),
    "operators": lambda value: ", ".join(f"{name} {count}" for name, count in value.items()),
    "preprocessing": _preprocessing,
}
