"""Arguments of workflows, as a command line or a caller in Python writes them, and what they come to.

A command line has texts (`--crop 224x320`); Python has values as well (`crop=(224, 320)`). Both are read here, once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from edgecnn.core.errors import InputError
from edgecnn.formats.registry import formats, no_format

if TYPE_CHECKING:
    from edgecnn.config.recipe import Budget
    from edgecnn.core.artifact import FormatName
    from edgecnn.data.preprocessing import Source
    from edgecnn.tasks.task import Metric

PathLike = str | Path
_SIDE = re.compile("[0-9]{1,5}")


class PreprocessingArguments(TypedDict, total=False):
    """How images become the network's input, where the checkpoint does not say it or says it wrong.

    `resize`: the shorter edge in pixels before the crop, or "none"; `crop`: the input size, height x width;
    `interpolation`: nearest, bilinear, bicubic or lanczos; `mean` and `std`: per channel, on values in [0, 1];
    `color`: RGB, BGR or L; `channels`: how many the network takes, 3 or 1, where it is read wrongly.
    """

    resize: int | str | None
    crop: int | tuple[int, int] | str | None
    interpolation: str | None
    mean: Sequence[float] | str | None
    std: Sequence[float] | str | None
    color: str | None
    channels: int | str | None


def source_of(
    checkpoint: Any,
    *,
    model: str | None = None,
    weights: str | None = None,
    data: Any = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    seed: int = 0,
    preprocessing: Mapping[str, Any],
) -> Source:
    """Where a workflow starts from: files, or a network and tensors in memory. Raises InputError naming the
    preprocessing argument that cannot be read."""
    from edgecnn.data.preprocessing import Source
    from edgecnn.models.library_names import require_known

    if model is not None:
        require_known(model)
    fields = preprocessing_fields(preprocessing)
    network = None if isinstance(checkpoint, str | Path) else checkpoint
    tensors = None if data is None or isinstance(data, str | Path) else data
    return Source(
        checkpoint=Path(checkpoint) if network is None else Path(type(network).__name__),
        architecture=model,
        weights=weights,
        data=None if tensors is not None else path_or_none(data),
        class_map=path_or_none(class_map),
        preprocessing=fields,
        seed=seed,
        task=task,
        network=network,
        tensors=tensors,
    )


def path_or_none(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def preprocessing_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing fields that were given. Raises InputError for a value that cannot be read, TypeError for a
    name that is no preprocessing argument."""
    unknown = sorted(set(arguments) - set(PreprocessingArguments.__annotations__))
    if unknown:
        raise TypeError(f"unexpected keyword argument '{unknown[0]}'")
    texts = {name: _text(value) for name, value in arguments.items() if value is not None}
    fields: dict[str, Any] = {}
    if (resize := texts.get("resize")) is not None:
        fields["resize"] = None if resize.lower() == "none" else _pixels("--resize", resize)[0]
    if (crop := texts.get("crop")) is not None:
        sides = _pixels("--crop", crop)
        fields["crop"] = (sides[0], sides[-1])
    for name in ("mean", "std"):
        if name in texts:
            fields[name] = _numbers(f"--{name}", texts[name])
    if "interpolation" in texts:
        fields["interpolation"] = texts["interpolation"]
    if "color" in texts:
        fields["color"] = texts["color"].upper()
    if "channels" in texts:
        fields["color"] = _color(texts["channels"], fields.get("color"))
    return fields


def _color(channels: str, color: str | None) -> str:
    """The colours of images for a network of so many channels. Raises InputError where no image has as many."""
    if channels not in ("1", "3"):
        raise InputError(
            "bad-value",
            f"--channels {channels} cannot be fed with images",
            why="an image has three channels (RGB, BGR), or one (L)",
            hint="--channels 3 or --channels 1; a module that makes more of them out of the image: docs/opening.md",
        )
    if color is not None and (color == "L") != (channels == "1"):
        raise InputError(
            "bad-value",
            f"--channels {channels} and --color {color} contradict each other",
            hint="leave one of them out",
        )
    return color or ("L" if channels == "1" else "RGB")


def _text(value: Any) -> str:
    """A value as it is typed on a command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ("x" if all(isinstance(item, int) for item in value) and len(value) == 2 else ",").join(map(str, value))
    return str(value)


def formats_of(names: str | Sequence[str] | None) -> tuple[FormatName, ...] | None:
    """Checked format names, each once, or None when none was given. Raises InputError unknown-format."""
    names = [names] if isinstance(names, str) else names
    return tuple(dict.fromkeys(map(format_of, names))) if names else None


def format_of(name: str) -> FormatName:
    """A checked format name. Raises InputError unknown-format, MissingError broken-plugin."""
    if name not in [item.name for item in formats()]:
        raise no_format(name)
    return name


def budget_of(
    recipe: Budget, metric: Metric, *, max_drop: float | str | None = None, **arguments: float | str | None
) -> Budget:
    """The recipe's budget with what the arguments say instead.

    A recipe's `max_drop` is a share: where the task's metric is none, `max_drop` is needed, in the metric's own unit.
    Raises InputError for what cannot be read, and for a loss that is not less than the metric's limit.
    """
    from pydantic import ValidationError

    stated = {name: value for name, value in arguments.items() if value is not None}
    if metric.share and max_drop is not None:
        stated = {"max_drop": max_drop, **stated}
    try:
        budget = type(recipe).model_validate({**recipe.model_dump(), **stated})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        examples = {"max-drop": "1% or 0.01 for one point of top-1", "max-latency": "5 ms", "max-size": "4 MB"}
        raise InputError(
            f"bad-{name}",
            f"--{name} {stated.get(str(first['loc'][0]))} makes no sense",
            hint=f"write {examples[name]}",
        ) from None
    largest = budget.max_drop if metric.share else _drop_of(max_drop, metric)
    if metric.drop_limit is not None and largest >= metric.drop_limit:
        raise InputError(
            "bad-max-drop",
            f"a loss of {largest:g} cannot be allowed",
            why=f"{metric.name} can lose less than {metric.drop_limit:g} {metric.unit}".rstrip(),
            hint="give a smaller --max-drop",
        )
    return budget.model_copy(update={"max_drop": largest})


def _drop_of(value: float | str | None, metric: Metric) -> float:
    """The largest loss that passes, in the metric's own unit: 0.5, or "0.5 levels"."""
    unit = metric.unit or "its own unit"
    if value is None:
        raise InputError(
            "no-budget",
            f"nothing says how much worse the {metric.name} may be",
            why="a recipe's budget is a share, and this is none",
            hint=f"--max-drop NUMBER, in {unit}",
        )
    try:
        number = float(value.removesuffix(metric.unit) if isinstance(value, str) else value)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise InputError("bad-max-drop", f"--max-drop {value} makes no sense", hint=f"write a number, in {unit}")
    return number


def usage_error(message: str, command: str) -> InputError:
    """Arguments that contradict each other."""
    return InputError("usage", message, hint=f"edgecnn {command} --help")


def stated(**arguments: Any) -> dict[str, Any]:
    """The arguments that were given: those that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


def _pixels(flag: str, text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(_SIDE.fullmatch(part) and 0 < int(part) <= 4096 for part in parts):
        raise _unreadable(flag, text, "224 or 224x320, in pixels up to 4096")
    return tuple(int(part) for part in parts)


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _unreadable(flag, text, "numbers with commas between, such as 0.485,0.456,0.406") from None


def _unreadable(flag: str, text: str, example: str) -> InputError:
    return InputError("bad-option", f"cannot read {flag} {text}", hint=f"write {example}")
