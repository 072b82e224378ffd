"""Options that several commands share, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgecnn.config.recipe import Budget
    from edgecnn.core.artifact import Format
    from edgecnn.data.preprocessing import Source
    from edgecnn.workflows.optimize.request import Request

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A checkpoint: .pth, .pt or .safetensors; never unpickled.")
]
Target = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="NAME", help="The board: `edgecnn devices list` shows them. Default: host."),
]
OnDevice = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="A board of yours: the target, and where files are run, judged and measured."
    ),
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
ClassMap = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        metavar="FILE",
        help="Class folder names in the order of the outputs, one per line; or JSON, CSV.",
    ),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", metavar="NAME", help="How to compress: `edgecnn recipes list`, or a YAML file.")
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format", "-f", metavar="FORMAT", help="onnx, tflite or tensorrt; repeatable. Default: all the target runs."
    ),
]
MaxDrop = Annotated[
    str | None,
    typer.Option("--max-drop", metavar="SHARE", help="Largest loss of top-1 that passes, such as 1% or 0.01."),
]
MaxLatency = Annotated[
    str | None,
    typer.Option("--max-latency", metavar="TIME", help="Longest median for one image on the target, such as 5ms."),
]
MaxSize = Annotated[
    str | None, typer.Option("--max-size", metavar="SIZE", help="Largest file that passes, such as 4MB.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where results go. Default: runs/CKPT-TARGET.")
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="How long to measure: smoke, quick, standard or mlperf.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads of the runtime.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Resize = Annotated[
    str | None, typer.Option("--resize", metavar="PX", help="Shorter edge in pixels before the crop, or none.")
]
Crop = Annotated[str | None, typer.Option("--crop", metavar="PX", help="Input size: 224 or 224x320 (height x width).")]
Interpolation = Annotated[
    str | None, typer.Option("--interpolation", metavar="WORD", help="nearest, bilinear, bicubic or lanczos.")
]
Mean = Annotated[str | None, typer.Option("--mean", metavar="R,G,B", help="Per channel, on values in [0, 1].")]
Std = Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Per channel, on values in [0, 1].")]
Color = Annotated[str | None, typer.Option("--color", metavar="WORD", help="RGB, BGR or L.")]


def preprocessing_fields(
    *,
    resize: str | None,
    crop: str | None,
    interpolation: str | None,
    mean: str | None,
    std: str | None,
    color: str | None,
) -> dict[str, Any]:
    """The preprocessing fields a user gave as flags. Raises InputError naming the flag that cannot be read."""
    found: dict[str, Any] = {}
    if resize is not None:
        found["resize"] = None if resize.lower() == "none" else _pixels("--resize", resize)[0]
    if crop is not None:
        sides = _pixels("--crop", crop)
        found["crop"] = (sides[0], sides[-1])
    if mean is not None:
        found["mean"] = _numbers("--mean", mean)
    if std is not None:
        found["std"] = _numbers("--std", std)
    if interpolation is not None:
        found["interpolation"] = interpolation
    if color is not None:
        found["color"] = color.upper()
    return found


def request(source: Source, *, target: str | None, recipe: str, out: Path | None, **wanted: Any) -> Request:
    """A pipeline request from option values: `device`, `formats`, `max_drop`, `profile`, `threads`, `remeasure`."""
    from edgecnn.config.devices import load_device
    from edgecnn.config.recipe import load_recipe
    from edgecnn.workflows.optimize.request import Request

    on_device = wanted.get("device")
    if target is not None and on_device is not None:
        raise typer.BadParameter("--target builds for a kind of board, --device for a board of yours: give one")
    device, found = load_device(on_device or target or "host"), load_recipe(recipe)
    return Request(
        source=source,
        target=device,
        recipe=found,
        out=out or Path("runs") / f"{source.checkpoint.stem or 'model'}-{device.name}",
        budget=budget(found.budget, **{name: wanted.get(name) for name in ("max_drop", "max_latency", "max_size")}),
        profile=wanted.get("profile") or found.measure.profile,
        threads=wanted.get("threads", 1),
        formats=formats_of(wanted.get("formats")),
        remeasure=wanted.get("remeasure", False),
        on_device=on_device is not None,
    )


def budget(written: Budget, **given: str | None) -> Budget:
    """The recipe's budget with what flags say instead. Raises InputError for what cannot be read."""
    from pydantic import ValidationError

    from edgecnn.core.errors import InputError

    asked = {name: text for name, text in given.items() if text is not None}
    try:
        return type(written).model_validate({**written.model_dump(), **asked})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        examples = {"max-drop": "1% or 0.01 for one point of top-1", "max-latency": "5 ms", "max-size": "4 MB"}
        raise InputError(
            f"bad-{name}", f"--{name} {asked.get(str(first['loc'][0]))} makes no sense", hint=f"write {examples[name]}"
        ) from None


def formats_of(names: list[str] | None) -> tuple[Format, ...] | None:
    """Checked format names, or None when none was given."""
    from edgecnn.core.errors import InputError, did_you_mean

    known: tuple[Format, ...] = ("onnx", "tflite", "tensorrt")
    for name in names or ():
        if name not in known:
            raise InputError("unknown-format", f"no format is called '{name}'", hint=did_you_mean(name, list(known)))
    return tuple(dict.fromkeys(names)) if names else None  # type: ignore[arg-type]


def _pixels(flag: str, text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and 0 < int(part) <= 4096 for part in parts):
        raise _unreadable(flag, text, "224 or 224x320, in pixels up to 4096")
    return tuple(int(part) for part in parts)


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _unreadable(flag, text, "numbers with commas between, such as 0.485,0.456,0.406") from None


def _unreadable(flag: str, text: str, wanted: str) -> Exception:
    from edgecnn.core.errors import InputError

    return InputError("bad-option", f"cannot read {flag} {text}", hint=f"write {wanted}")
