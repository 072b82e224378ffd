"""What a person writes: how to compress, for any model and any device. Every problem is reported at once."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgecnn.core import plugins, shipped, written
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Stage

DEFAULT = "int8"
MAX_STAGES = 50

_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*")


def share(value: object) -> object:
    """`1%`, `0.5 %` or 0.01 as a share of one. Raises ValueError for a text that is neither."""
    if isinstance(value, bool):
        raise ValueError("write a percentage such as 1%, or a share such as 0.01")
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        try:
            return float(match[1]) / 100 if match else float(value)
        except ValueError:
            raise ValueError("write a percentage such as 1%, or a share such as 0.01") from None
    return value


Share = Annotated[float, BeforeValidator(share), Field(ge=0, lt=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Section):
    """`max_drop` is the largest loss of top-1 accuracy that still passes, as a share: 0.01 is one point."""

    max_drop: Share = 0.01


class Calibration(_Section):
    """How many images the ranges are observed on."""

    images: int = Field(default=200, ge=1, le=100_000)


class Measure(_Section):
    """How long to measure: see `edgecnn.measure.profiles`."""

    profile: Literal["smoke", "quick", "standard"] = "quick"


class Recipe(_Section):
    """How to compress. Knows no device and no model."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    description: str = ""
    stages: tuple[Any, ...]
    budget: Budget = Budget()
    calibration: Calibration = Calibration()
    preprocessing: Preprocessing | None = None
    measure: Measure = Measure()

    def to_dict(self) -> dict[str, Any]:
        """As a person would write it, every option spelt out."""
        return {
            "name": self.name,
            "description": self.description,
            "stages": [{stage.kind: stage.options()} for stage in self.stages],
            "budget": self.budget.model_dump(),
            "calibration": self.calibration.model_dump(),
            "preprocessing": self.preprocessing.to_dict() if self.preprocessing else None,
            "measure": self.measure.model_dump(),
        }


class _Page(_Section):
    """The file as written, before its stages are looked up."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str = Field(default="", max_length=2000)
    budget: Budget = Budget()
    calibration: Calibration = Calibration()
    measure: Measure = Measure()


def load_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name, the user's or a shipped one, or at that path. Raises one InputError for all problems."""
    path = shipped.find("recipes", name_or_path)
    return parse(written.read_mapping(path, what="recipe"), path=path)


def list_recipes() -> list[Recipe]:
    """The shipped recipes and the user's own, by name. A broken one raises: `edgecnn recipes check` shows which."""
    return [load_recipe(name) for name in shipped.files("recipes")]


def parse(raw: dict[str, Any], *, path: Path) -> Recipe:
    """A recipe from the mapping in its file. Raises one InputError with every problem and where it stands."""
    problems: list[str] = []
    page: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in Recipe.model_fields:
            problems.append(written.unknown(key, key, Recipe.model_fields))
        elif key in _Page.model_fields:
            model = _Page.model_fields[key].annotation
            if isinstance(model, type) and issubclass(model, BaseModel):
                page[key] = written.validate(model, {} if value is None else value, at=key, problems=problems)
            else:
                one = written.validate(_Page, {key: value}, at="", problems=problems)
                page[key] = getattr(one, key, None)
    page["stages"] = _stages(raw.get("stages"), problems)
    page["preprocessing"] = _preprocessing(raw.get("preprocessing"), problems)
    if problems:
        raise written.refuse(path, problems, what="recipe")
    return Recipe(**{**page, "name": page.get("name") or path.stem})


def _stages(entries: Any, problems: list[str]) -> tuple[Stage, ...]:
    if not isinstance(entries, list) or not entries:
        problems.append("stages: write a list of stages, such as `- export` and `- quantize`")
        return ()
    if len(entries) > MAX_STAGES:
        problems.append(f"stages: {len(entries)} stages are too many (at most {MAX_STAGES})")
        return ()
    found = [_stage(entry, f"stages[{index}]", problems) for index, entry in enumerate(entries)]
    return tuple(stage for stage in found if stage is not None)


def _stage(entry: Any, at: str, problems: list[str]) -> Stage | None:
    """`- export` or `- quantize: {observer: percentile}`: one word, and its options."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        problems.append(f"{at}: write the stage's name, or `name: {{option: value}}` (one stage per `-`)")
        return None
    kind, options = next((str(kind), options) for kind, options in entry.items())
    if kind not in plugins.names("stages"):
        problems.append(written.unknown(f"{at}.{kind}", kind, plugins.names("stages")).replace("key", "stage"))
        return None
    if options is not None and not isinstance(options, dict):
        problems.append(f"{at}.{kind}: write its options as `{{option: value}}`")
        return None
    try:
        model = plugins.load("stages", kind)
    except (ImportError, EdgecnnError) as error:
        problems.append(f"{at}.{kind}: the stage cannot be loaded: {error}")
        return None
    stage: Stage | None = written.validate(model, options or {}, at=f"{at}.{kind}", problems=problems)
    return stage


def _preprocessing(value: Any, problems: list[str]) -> Preprocessing | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        problems.append("preprocessing: write `{resize: 256, crop: 224, ...}`")
        return None
    known = [field.name for field in fields(Preprocessing)]
    strange = [key for key in value if key not in known]
    problems.extend(written.unknown(f"preprocessing.{key}", str(key), known) for key in strange)
    sized = {key: item for key, item in value.items() if key not in strange}
    before = len(problems)
    for key, item in sized.items():
        _check_field(str(key), item, problems)
    if strange or len(problems) > before:
        return None
    if isinstance(sized.get("crop"), int):
        sized["crop"] = [sized["crop"], sized["crop"]]
    try:
        return Preprocessing.from_dict(sized)
    except InputError as error:
        problems.extend(f"preprocessing: {problem}" for problem in error.why.split("; "))
        return None


def _check_field(key: str, value: Any, problems: list[str]) -> None:
    """Types and bounds of one field; what fits together is `Preprocessing`'s own affair."""
    at = f"preprocessing.{key}"
    if key == "crop":
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or not all(_is_side(side) for side in sides):
            problems.append(f"{at}: write the input size in pixels, 1 to 4096, such as 224 or [224, 320]")
    elif key == "resize":
        if value is not None and not _is_side(value):
            problems.append(f"{at}: write the shorter edge in pixels, 1 to 4096, or null")
    elif key == "stretch":
        if not isinstance(value, bool):
            problems.append(f"{at}: write true or false")
    elif key in ("mean", "std"):
        numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not numbers:
            problems.append(f"{at}: write one number per channel, such as [0.5, 0.5, 0.5]")
    elif not isinstance(value, str):
        problems.append(f"{at}: write a word")


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096
