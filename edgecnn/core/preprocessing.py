"""How a photograph becomes a tensor: one definition that travels from training to the board."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgecnn.core.errors import InputError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter edge, crop the centre, scale to [0, 1], normalise.

    `resize` is the length of the shorter edge in pixels, or None to leave the size; `crop` is (height, width) in
    pixels, the network's input size. `stretch` resizes straight to `crop`, ignoring the aspect ratio (then `resize`
    is unused). `mean` and `std` are per channel, on values in [0, 1]. `color` is RGB, BGR or L (one channel, luma
    of ITU-R 601-2).
    """

    crop: tuple[int, int] = (224, 224)
    resize: int | None = 256
    stretch: bool = False
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    color: Literal["RGB", "BGR", "L"] = "RGB"

    def __post_init__(self) -> None:
        problems = []
        if self.interpolation not in INTERPOLATIONS:
            problems.append(f"interpolation '{self.interpolation}' is not one of {', '.join(INTERPOLATIONS)}")
        if self.color not in ("RGB", "BGR", "L"):
            problems.append(f"color '{self.color}' is not RGB, BGR or L")
        if not (len(self.mean) == len(self.std) == self.channels):
            problems.append(f"mean and std need {self.channels} values each for color {self.color}")
        if any(not math.isfinite(v) for v in (*self.mean, *self.std)) or any(v <= 0 for v in self.std):
            problems.append("mean must be finite and std positive")
        if min(self.crop) < 1:
            problems.append("crop must be at least 1 pixel")
        if self.resize is not None and not self.stretch and self.resize < max(self.crop):
            problems.append(f"resize {self.resize} is smaller than the crop {self.crop[0]}x{self.crop[1]}")
        if problems:
            raise InputError(
                "bad-preprocessing",
                "the preprocessing does not make sense",
                why="; ".join(problems),
                hint="correct `preprocessing` in the recipe, or the --resize/--crop/--mean/--std/--interpolation flags",
            )

    @property
    def channels(self) -> int:
        return 1 if self.color == "L" else 3

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Preprocessing:
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise InputError(
                "bad-preprocessing",
                f"unknown preprocessing field: {', '.join(unknown)}",
                hint="known: " + ", ".join(sorted(known)),
            )
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
        try:
            return cls(**given)
        except TypeError as error:  # comparing or counting what is no number or no list
            raise InputError(
                "bad-preprocessing",
                "the preprocessing does not make sense",
                why=f"a field has a value of the wrong type: {error}",
                hint="crop is two integers, mean and std are one number per channel",
            ) from error
