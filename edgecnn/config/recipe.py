"""Recipes: how to compress, for any model and any device, as YAML. Every problem in a file is reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgecnn.config import user_files, yaml_file
from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName, Kind
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.quantities import Bytes, Milliseconds, Share
from edgecnn.core.stage import Stage

DEFAULT = "int8"
GROUPS = {"stages": "stages", "ladder": "fallbacks"}
"""Under which entry points the words of a list are found."""
WORDS = {"stages": "stage", "ladder": "fallback"}
MAX_STAGES = 50


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Section):
    """What the delivered file has to keep.

    `max_drop` is the largest loss of top-1 accuracy that still passes, as a share: 0.01 is one point. `max_latency` is
    in milliseconds for one image on the target, `max_size` in bytes of the file; None asks nothing.
    """

    max_drop: Share = 0.01
    max_latency: Milliseconds | None = None
    max_size: Bytes | None = None


class Calibration(_Section):
    """How many images the ranges are observed on."""

    images: int = Field(default=200, ge=1, le=100_000)


class MeasurementSettings(_Section):
    """How long to measure: see `edgecnn.measure.effort`."""

    profile: Literal["smoke", "quick", "standard"] = "quick"


class _Page(_Section):
    """The file as written but for its stages and its ladder, which are plug-ins."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str = Field(default="", max_length=2000)
    budget: Budget = Budget()
    calibration: Calibration = Calibration()
    preprocessing: Preprocessing | None = None
    measure: MeasurementSettings = MeasurementSettings()


class Recipe(_Page):
    """How to compress. Knows no device and no model."""

    name: str
    stages: tuple[Any, ...]
    ladder: tuple[Any, ...] = ()
    """Fallbacks (`edgecnn.compress.fallbacks.Fallback`) to try, in order, when the stages alone miss the budget."""

    def to_dict(self) -> dict[str, Any]:
        """As a person would write it, every option spelt out."""
        return {
            "name": self.name,
            "description": self.description,
            "stages": [{stage.kind: stage.options()} for stage in self.stages],
            "ladder": [{fallback.kind: fallback.options()} for fallback in self.ladder],
            "budget": self.budget.model_dump(),
            "calibration": self.calibration.model_dump(),
            "preprocessing": self.preprocessing.to_dict() if self.preprocessing else None,
            "measure": self.measure.model_dump(),
        }


def load_recipe(name_or_path: str) -> Recipe:
    """The recipe of that name, the user's or a bundled one, or at that path. Raises one InputError for all problems."""
    path = user_files.find("recipes", name_or_path)
    return parse(yaml_file.read_mapping(path, what="recipe"), path=path)


def list_recipes() -> list[Recipe]:
    """The bundled recipes and the user's own, by name. A broken one raises: `edgecnn recipes check` shows which."""
    return [load_recipe(name) for name in user_files.files("recipes")]


def parse(raw: dict[str, Any], *, path: Path) -> Recipe:
    """A recipe from the mapping in its file. Raises one InputError with every problem and where it stands."""
    problems = [yaml_file.unknown(key, key, Recipe.model_fields) for key in raw if key not in Recipe.model_fields]
    plain = {key: raw[key] for key in raw if key in _Page.model_fields}
    plain = {key: value for key, value in plain.items() if value is not None or key == "description"}
    page = yaml_file.validate(_Page, plain, at="", problems=problems)
    stages = _stages(raw.get("stages"), problems)
    ladder = _entries(raw.get("ladder") or [], "ladder", problems)
    problems.extend(_out_of_order(ladder))
    problems.extend(() if problems else _without_effect(stages))
    problems.extend(() if problems else _without_object(ladder, stages))
    if page is None or problems:
        raise yaml_file.file_error(path, problems, what="recipe")
    return Recipe(**{**dict(page), "name": page.name or path.stem, "stages": stages, "ladder": ladder})


def _stages(entries: Any, problems: list[str]) -> tuple[Stage, ...]:
    if not isinstance(entries, list) or not entries:
        problems.append("stages: write a list of stages, such as `- export` and `- quantize`")
        return ()
    if len(entries) > MAX_STAGES:
        problems.append(f"stages: {len(entries)} stages are too many (at most {MAX_STAGES})")
        return ()
    return _entries(entries, "stages", problems)


def _without_effect(stages: Sequence[Stage]) -> list[str]:
    """Stages in an order in which, whatever the format, one has nothing to work on or works for nothing."""
    names = [format.name for format in plugins.every("formats") if format.export]
    links = [link for name in names for link in _links(stages, name)]
    applied, taken = {index for index, _, _ in links}, {source for _, source, _ in links}
    passed_on = {index for index, _, makes in links if makes.format == "torch" or not stages[index].delivers}
    problems = []
    for index, stage in enumerate(stages):
        if index not in applied:
            problems.append(f"stages[{index}].{stage.kind}: no stage before it makes what it takes")
        elif index in passed_on - taken:
            problems.append(f"stages[{index}].{stage.kind}: no stage behind it takes what it makes")
    return problems


def _links(stages: Sequence[Stage], format: FormatName) -> Iterator[tuple[int, int | None, Kind]]:
    """On the way to a format, each stage that applies: its place, that of the stage whose result it takes, and what it
    makes. None is the checkpoint."""
    made: dict[Kind, int | None] = {Kind("torch", "fp32"): None}
    for index, stage in enumerate(stages):
        for source in reversed(list(made)):
            makes = stage.produces(source, format)
            if makes is not None:
                yield index, made[source], makes
                made.pop(makes, None)
                made[makes] = index
                break


def _out_of_order(fallbacks: Sequence[Any]) -> list[str]:
    """A fallback that costs latency before one that costs none would give away speed for nothing."""
    kinds = [fallback.kind for fallback in fallbacks]
    first = next((index for index, fallback in enumerate(fallbacks) if fallback.costs_latency), len(fallbacks))
    late = [fallback.kind for fallback in fallbacks[first:] if not fallback.costs_latency]
    return [f"ladder: `{kind}` costs no latency and stands behind `{kinds[first]}`, which does" for kind in late]


def _without_object(fallbacks: Sequence[Any], stages: Sequence[Stage]) -> list[str]:
    """A fallback whose stage is not in the recipe could never do anything."""
    there = {stage.kind for stage in stages}
    idle = [fallback for fallback in fallbacks if fallback.changes and fallback.changes not in there]
    return [
        f"ladder: `{fallback.kind}` changes `{fallback.changes}`, which is not among the stages" for fallback in idle
    ]


def _entries(entries: Any, group: str, problems: list[str]) -> tuple[Any, ...]:
    """The checked values of a list of stages or fallbacks."""
    if not isinstance(entries, list) or len(entries) > MAX_STAGES:
        problems.append(f"{group}: write a list of at most {MAX_STAGES}, such as `- {plugins.names(GROUPS[group])[0]}`")
        return ()
    values = [_entry(entry, f"{group}[{index}]", group, problems) for index, entry in enumerate(entries)]
    return tuple(value for value in values if value is not None)


def _entry(entry: Any, at: str, group: str, problems: list[str]) -> Any | None:
    """`- export` or `- quantize: {observer: percentile}`: one word, and its options."""
    word = WORDS[group]
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        problems.append(f"{at}: write the {word}'s name, or `name: {{option: value}}` (one {word} per `-`)")
        return None
    kind, options = next((str(kind), options) for kind, options in entry.items())
    if kind not in plugins.names(GROUPS[group]):
        problems.append(yaml_file.unknown(f"{at}.{kind}", kind, plugins.names(GROUPS[group])).replace("key", word))
        return None
    if options is not None and not isinstance(options, dict):
        problems.append(f"{at}.{kind}: write its options as `{{option: value}}`")
        return None
    try:
        model = plugins.load(GROUPS[group], kind)
    except (ImportError, EdgecnnError) as error:
        problems.append(f"{at}.{kind}: the {word} cannot be loaded: {error}")
        return None
    return yaml_file.validate(model, options or {}, at=f"{at}.{kind}", problems=problems)
