"""Preprocessing: how a photograph becomes a tensor. One definition that travels from training to the board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from edgecnn.core.errors import InputError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
MAX_SIDE = 1 << 14
"""Pixels."""


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def _size(value: object) -> object:
    """One length stands for a square."""
    sides = value if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2 or not all(_is_side(side) for side in sides):
        raise ValueError(f"write the input size in pixels, 1 to {MAX_SIDE}, such as 224 or [224, 320]")
    return tuple(sides)


def _edge(value: object) -> object:
    if value is not None and not _is_side(value):
        raise ValueError(f"write the shorter edge in pixels, 1 to {MAX_SIDE}, or null")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Preprocessing(BaseModel):
    """Resize the shorter edge, crop the centre, scale to [0, 1], normalise.

    `resize` is the length of the shorter edge in pixels, or None to leave the size; `crop` is (height, width) in
    pixels, the network's input size. `stretch` resizes straight to `crop`, ignoring the aspect ratio (then `resize`
    is unused). `mean` and `std` are per channel, on values in [0, 1]. `color` is RGB, BGR or L (one channel, luma
    of ITU-R 601-2).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: Annotated[tuple[int, int], BeforeValidator(_size)] = (224, 224)
    resize: Annotated[int | None, BeforeValidator(_edge)] = 256
    stretch: Annotated[bool, Field(strict=True)] = False
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[Number, ...] = (0.485, 0.456, 0.406)
    std: tuple[Number, ...] = (0.229, 0.224, 0.225)
    color: Literal["RGB", "BGR", "L"] = "RGB"

    @model_validator(mode="after")
    def _fits_together(self) -> Preprocessing:
        problems = []
        if not (len(self.mean) == len(self.std) == self.channels):
            problems.append(f"mean and std need {self.channels} values each for color {self.color}")
        if any(value <= 0 for value in self.std):
            problems.append("mean must be finite and std positive")
        if self.resize is not None and not self.stretch and self.resize < max(self.crop):
            problems.append(f"resize {self.resize} is smaller than the crop {self.crop[0]}x{self.crop[1]}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def channels(self) -> int:
        return 1 if self.color == "L" else 3

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Preprocessing:
        """Raises InputError `bad-preprocessing` with everything that is wrong."""
        try:
            return cls.model_validate({str(key): value for key, value in raw.items()})
        except ValidationError as error:
            raise InputError(
                "bad-preprocessing",
                "the preprocessing does not make sense",
                why="; ".join(_problem(item) for item in error.errors(include_url=False)),
                hint="correct `preprocessing` in the recipe, or the --resize/--crop/--mean/--std/--interpolation flags",
            ) from error

    def changed(self, **fields: Any) -> Preprocessing:
        """The same with other values of some fields. Raises InputError `bad-preprocessing`."""
        return self.from_dict({**self.to_dict(), **fields})


def _problem(item: Any) -> str:
    field = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"unknown field {field}; known: {', '.join(sorted(Preprocessing.model_fields))}"
    message: str = item["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
    return f"{field} {item['input']!r}: {message}" if field else message
