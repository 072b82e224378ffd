"""Options that several commands share: one by one, and the group that says how images are prepared."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from edgecnn.core.units import alternatives

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A checkpoint: .pth, .pt or .safetensors; never unpickled.")
]
Target = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="NAME", help="The board: `edgecnn devices list` shows them. Default: host."),
]
OnDevice = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A board of yours: the target, and where files are run, judged and measured."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data", "-d", metavar="DIR", help="Images: a folder with train/ and val/, a folder per class; or a CSV."
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="resnet50, timm:NAME, path/file.py:factory or pkg.module:factory."
    ),
]
WeightsName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which of several weights in the file: ema, state_dict or another key."),
]
ClassMapFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Class folder names in the order of the outputs, one per line; or JSON, CSV."),
]
TaskName = Annotated[
    str, typer.Option(metavar="NAME", help="What the network is for: classification, or a plug-in's task.")
]
RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", metavar="NAME", help="How to compress: `edgecnn recipes list`, or a YAML file.")
]


class CommandWithFormats(TyperCommand):
    """A command whose help may say `{formats}` for the formats there are: they are looked up when it is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from edgecnn.formats.registry import formats

        names = alternatives(item.name for item in formats()) or "no format is installed"
        for param in self.params:
            if isinstance(param, TyperOption) and param.help:
                param.help = param.help.replace("{formats}", names)
        super().format_help(ctx, formatter)


InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:SIZES", help="Sizes of an input that a file leaves free: input:1x3x320x320; repeatable."
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", "-f", metavar="FORMAT", help="{formats}; repeatable. Default: all the target runs."),
]
MaxDrop = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Largest loss of top-1 that passes, such as 1% or 0.01.")
]
MaxLatency = Annotated[
    str | None, typer.Option(metavar="TIME", help="Longest median for one image on the target, such as 5ms.")
]
MaxSize = Annotated[str | None, typer.Option(metavar="SIZE", help="Largest file that passes, such as 4MB.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where results go. Default: runs/CKPT-TARGET.")
]
CheckpointOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where it goes: .safetensors. Default: beside CKPT."),
]
ProfileName = Annotated[
    str | None, typer.Option(metavar="NAME", help="How long to measure: smoke, quick, standard or mlperf.")
]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads of the runtime.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
PrintJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_PREPROCESSING = {
    "resize": Annotated[
        str | None, typer.Option(metavar="PX", help="Shorter edge in pixels before the crop, or none.")
    ],
    "crop": Annotated[str | None, typer.Option(metavar="PX", help="Input size: 224 or 224x320 (height x width).")],
    "interpolation": Annotated[str | None, typer.Option(metavar="WORD", help="nearest, bilinear, bicubic or lanczos.")],
    "mean": Annotated[str | None, typer.Option(metavar="R,G,B", help="Per channel, on values in [0, 1].")],
    "std": Annotated[str | None, typer.Option(metavar="R,G,B", help="Per channel, on values in [0, 1].")],
    "color": Annotated[str | None, typer.Option(metavar="WORD", help="RGB, BGR or L.")],
    "channels": Annotated[
        str | None, typer.Option(metavar="N", help="What the network takes, where it is read wrongly: 3 or 1.")
    ],
}
PREPROCESSING = tuple(
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=option)
    for name, option in _PREPROCESSING.items()
)
"""The options of preprocessing, as parameters of a command."""
