"""Facts of a checkpoint or a library beside the weights: preprocessing, class names, architecture."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import INTERPOLATIONS, Preprocessing

if TYPE_CHECKING:
    from edgecnn.models.registry import Entry

_ARCHITECTURE_KEYS = ("architecture", "arch", "model_name", "model_arch", "backbone", "arch_name")
LARGEST_SIDE = 4096
"""Pixels, as `--crop` takes them."""
_NAMES_KEYS = ("class_names", "classes", "labels", "categories")


def stated_architecture(metadata: Mapping[str, Any]) -> str | None:
    for key in _ARCHITECTURE_KEYS:
        value = metadata.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def stated_history(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What made the weights, oldest first, where the file says it."""
    value = metadata.get("history")
    words = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if words and value else ()


def class_names(metadata: Mapping[str, Any], num_classes: int) -> tuple[tuple[str, ...] | None, str]:
    """Names by output index, and a note when those in the file cannot be used."""
    for key in _NAMES_KEYS:
        value = metadata.get(key)
        if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value):
            return _checked(list(value), key, num_classes)
    indexes = metadata.get("class_to_idx")
    if isinstance(indexes, Mapping) and sorted(map(str, indexes.values())) == sorted(map(str, range(len(indexes)))):
        return _checked(sorted(map(str, indexes), key=lambda name: int(indexes[name])), "class_to_idx", num_classes)
    return None, ""


def _checked(names: list[str], key: str, num_classes: int) -> tuple[tuple[str, ...] | None, str]:
    if not names:
        return None, ""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return None, f"'{key}' in the file holds names that are no text in UTF-8 and was left aside"
    if len(names) != num_classes:
        return None, f"'{key}' in the file has {len(names)} names for {num_classes} outputs and was left aside"
    return tuple(names), ""


def preprocessing_of(metadata: Mapping[str, Any]) -> tuple[Preprocessing | None, str]:
    """The preprocessing stated in the file, in this program's words or timm's, and a note if it makes no sense."""
    for key in ("preprocessing", "preprocess", "pretrained_cfg", "data_config", "transform", "transforms"):
        raw = metadata.get(key)
        if isinstance(raw, Mapping) and raw:
            try:
                words = {"crop", "resize"} & set(raw)
                return (Preprocessing.from_dict(raw) if words else _from_timm_words(raw)), ""
            except (InputError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
                why = error.why or error.message if isinstance(error, InputError) else f"{error}"
                return None, f"'{key}' in the checkpoint was left aside: {why}"
    if "mean" in metadata and "std" in metadata and "input_size" in metadata:
        return preprocessing_of({"preprocessing": {key: metadata[key] for key in ("mean", "std", "input_size")}})
    return None, ""


def stated_size(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Input height and width in pixels, where the file states one."""
    for key in ("input_size", "img_size", "image_size", "resolution", "crop_size"):
        size = size_of(metadata.get(key))
        if size:
            return size
    return None


def size_of(value: Any) -> tuple[int, int] | None:
    """(height, width) from 224, "224", (224, 224) or (3, 224, 224); None for more than `--crop` takes."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and 0 < value <= LARGEST_SIDE:
        return value, value
    if (
        isinstance(value, Sequence)
        and len(value) in (2, 3)
        and all(isinstance(item, int) and 0 < item <= LARGEST_SIDE for item in value)
    ):
        return int(value[-2]), int(value[-1])
    return None


def _from_timm_words(raw: Mapping[str, Any]) -> Preprocessing:
    """timm's `data_config`: resized to input size / crop_pct, then cropped (timm/data/transforms_factory.py)."""
    crop = size_of(raw["input_size"])
    if crop is None:
        raise ValueError(f"input_size {raw['input_size']!r} is not a size")
    mode = str(raw.get("crop_mode", "center"))
    interpolation = str(raw.get("interpolation", "bilinear"))
    if interpolation not in INTERPOLATIONS:
        interpolation = "bicubic"
    edge = max(*crop, math.floor(max(crop) / float(raw.get("crop_pct") or 0.875)))
    return Preprocessing.from_dict(
        {
            "crop": crop,
            "resize": None if mode == "squash" else edge,
            "stretch": mode == "squash",
            "interpolation": interpolation,
            "mean": [float(item) for item in raw["mean"]],
            "std": [float(item) for item in raw["std"]],
        }
    )


def library_preprocessing(entry: Entry) -> Preprocessing | None:
    """What the library's own weights of this architecture were trained with; None where there are none. RGB only."""
    return _torchvision(entry.name) if entry.library == "torchvision" else _timm(entry)


def _torchvision(name: str) -> Preprocessing | None:
    from torchvision.models import get_model_weights

    weights = list(get_model_weights(name))
    if not weights:
        return None
    # DEFAULT names the newest; the plain ImageNet set is what people fine-tune and what recipes assume.
    chosen = next((item for item in weights if item.name.startswith("IMAGENET1K_V1")), weights[0])
    steps = chosen.transforms()
    return Preprocessing(
        crop=(steps.crop_size[0], steps.crop_size[-1]),
        resize=max(steps.resize_size[0], steps.crop_size[0]),
        interpolation=cast(Any, steps.interpolation.value),
        mean=tuple(steps.mean),
        std=tuple(steps.std),
    )


def _timm(entry: Entry) -> Preprocessing | None:
    import timm
    from timm.data.config import resolve_data_config

    known: Any = timm.get_pretrained_cfg(entry.name, allow_unregistered=True)
    resolve: Any = resolve_data_config
    if known is None:
        return None
    try:
        return _from_timm_words(resolve(pretrained_cfg=known.to_dict()))
    except (InputError, KeyError, TypeError, ValueError):
        return None
