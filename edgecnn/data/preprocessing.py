"""Preprocessing of a run: what the user, the recipe or the checkpoint states, or a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.core.events import Listener, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.tensors import preprocessing_of, shape_of

SMALL = 96
"""Data sets whose images all have one size of at most this many pixels are fed as they are (CIFAR, MNIST, digits)."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the user pointed at. `preprocessing` holds the fields given as flags; `task` is what the network is for;
    `weights` says which of several in the checkpoint.

    A caller in Python may give a `network`, an nn.Module, of which `checkpoint` is then a copy; and `tensors` instead
    of `data`: see `data.tensors.open_tensors`.
    """

    checkpoint: Path
    architecture: str | None = None
    data: Path | None = None
    class_map: Path | None = None
    preprocessing: Mapping[str, Any] | None = None
    seed: int = 0
    task: str = "classification"
    weights: str | None = None
    network: Any = field(default=None, compare=False, repr=False)
    tensors: Any = field(default=None, compare=False, repr=False)

    @property
    def stated_size(self) -> tuple[int, int] | None:
        """(height, width) of the input in pixels, where the user says it: a network may accept no other."""
        if self.tensors is not None:
            height, width = shape_of(self.tensors)[1:]
            return height, width
        return (self.preprocessing or {}).get("crop")

    @property
    def stated_channels(self) -> int | None:
        if self.tensors is not None:
            return int(shape_of(self.tensors)[0])
        return channels_of(self.preprocessing or {})


def channels_of(fields: Mapping[str, Any]) -> int | None:
    """How many channels the colours among preprocessing fields have, where they are among them."""
    return None if "color" not in fields else 1 if fields["color"] == "L" else 3


def settle_preprocessing(
    stated: tuple[Preprocessing, str] | None, input_shape: tuple[int, int, int], source: Source, *, listener: Listener
) -> tuple[Preprocessing, str]:
    """Flags over what is `stated` and by whom; guessed from the input shape (C, H, W), with a warning, when nobody
    says. Tensors in memory are as the network takes them."""
    flags = dict(source.preprocessing or {})
    if source.tensors is not None:
        return preprocessing_of(shape_of(source.tensors), flags), "tensors as the network takes them"
    base, origin = stated if stated is not None else (guess(input_shape, source.data), "guessed")
    if "crop" in flags and "resize" not in flags:
        flags["resize"] = max(flags["crop"])
    if flags:
        base, origin = base.changed(**flags), f"flags over {origin}"
    if "guessed" in origin and not {"mean", "std"} <= set(flags):
        listener(
            Warned(
                "preprocessing-guessed",
                f"{source.checkpoint.name} does not say how its images were prepared; taken: {in_words(base)}",
                "if that is not how it was trained, say so: --resize, --crop, --interpolation, --mean, --std, --color",
            )
        )
    return base, origin


def guess(input_shape: tuple[int, int, int], data: Path | None) -> Preprocessing:
    """ImageNet's numbers; small images of one size are left at their size."""
    channels = input_shape[0]
    color: dict[str, Any] = {} if channels == 3 else {"color": "L", "mean": (0.5,), "std": (0.5,)}
    size = _common_size(data) if data is not None else None
    if size is not None and max(size) <= SMALL:
        return Preprocessing(resize=None, crop=size, **color)
    return Preprocessing(crop=input_shape[1:], resize=round(max(input_shape[1:]) * 256 / 224), **color)


def in_words(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.crop
    resize = "" if preprocessing.resize is None else f"resize {preprocessing.resize} {preprocessing.interpolation}, "
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
    return f"{resize}crop {height}x{width}, mean {mean}, std {std}, {preprocessing.color}"


def _common_size(data: Path) -> tuple[int, int] | None:
    """(height, width) when the first images of the folder or table all have the same, else None."""
    from itertools import islice

    from PIL import Image

    from edgecnn.data.table import rows

    sizes = set()
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    if data.suffix.lower() == ".csv":
        paths = (data.parent / row["path"] for _, row in rows(data, unlabelled=True))
    else:
        paths = (path for path in data.rglob("*") if path.suffix.lower() in suffixes)
    for path in islice(paths, 16):
        try:
            with Image.open(path) as image:
                sizes.add((image.height, image.width))
        except OSError:
            continue
    return sizes.pop() if len(sizes) == 1 else None
