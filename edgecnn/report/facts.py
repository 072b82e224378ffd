"""Facts of a run as its report archives them: the network, the images, the recipe, the budget, and each finished step.

Fields may be added; a reader ignores what it does not know, and an old report leaves the rest at its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter

from edgecnn.core.artifact import FormatName

Facts = Mapping[str, Any]
"""Plain JSON values whose keys are another's to choose: a board's description of itself, a stage's options."""
_Kind = TypeVar("_Kind")


def facts_of(kind: type[_Kind], raw: Facts) -> _Kind:
    """A `kind` of this module from a mapping, in the form in which it is read back: lists for tuples, no paths."""
    return TypeAdapter(kind).validate_python(json.loads(json.dumps(raw, default=str)))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The network: `form` is how it was stored, `source_files` has the sha256 of each file it was built from."""

    name: str = "unknown"
    sha256: str = ""
    form: str = ""
    parameters: int | None = None
    input_shape: tuple[int, ...] = ()
    num_classes: int | None = None
    preprocessing_source: str = ""
    notes: tuple[str, ...] = ()
    source_files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImagesFacts:
    """Images of a run without data: how many were made, and the digest of what made them."""

    images: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The images: where they are from, how they were divided, and the digest of each part.

    `images` counts the parts `training`, `calibration` and `evaluation`. A run without data has `form` "synthetic" and
    its counts in `calibration` and `evaluation`.
    """

    source: str = ""
    form: str = ""
    origin: Facts = field(default_factory=dict)
    split: str = ""
    seed: int | None = None
    classes: str = ""
    class_map_sha256: str | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    calibration: ImagesFacts | None = None
    evaluation: ImagesFacts | None = None
    evaluation_classes: int | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str | None] = field(default_factory=dict)
    preprocessing: Facts = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, part: str) -> int:
        """How many images a part (`calibration`, `evaluation`) has; 0 where nothing is known."""
        synthetic = {"calibration": self.calibration, "evaluation": self.evaluation}.get(part)
        return self.images.get(part, 0) if synthetic is None else synthetic.images


@dataclass(frozen=True, slots=True)
class RecipeFacts:
    """The recipe with every option written out; each item of `stages` and `ladder` maps a kind to its options."""

    name: str = "unknown"
    description: str = ""
    stages: tuple[Facts, ...] = ()
    ladder: tuple[Facts, ...] = ()
    budget: Facts = field(default_factory=dict)
    calibration: Facts = field(default_factory=dict)
    preprocessing: Facts | None = None
    measure: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """What was asked: the largest loss in the report's metric (a share of top-1), milliseconds for one
    image, bytes of the file."""

    max_drop: float | None = None
    max_latency: float | None = None
    max_size: int | None = None


NO_BUDGET = BudgetFacts()


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """The file a run began with."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What was asked for, as far as it can be typed; `formats` are those that were made."""

    target: str
    formats: tuple[FormatName, ...]
    budget: BudgetFacts
    profile: str
    threads: int
    seed: int
    model: str | None = None
    data: str | None = None
    class_map: str | None = None


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """Where files were run: this host (`local`) or a board, what it says of itself, and its runtimes' versions."""

    local: bool
    facts: Facts
    runtimes: Facts


@dataclass(frozen=True, slots=True)
class Provenance:
    """What went into a run and where it ran, as `run.json` holds it. `device` is the profile of the target, `versions`
    are of the packages here, None where one is not installed."""

    checkpoint: CheckpointFacts
    request: RequestFacts
    model: ModelFacts
    data: Facts
    preprocessing: Facts
    recipe: RecipeFacts
    versions: Mapping[str, str | None]
    host: Facts
    device: Facts
    ran_on: PlaceFacts

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A finished step: what it made (a `Kind` as text), with which options and tools, and under which store `key`."""

    stage: str
    makes: str = ""
    options: Facts = field(default_factory=dict)
    tools: Facts = field(default_factory=dict)
    key: str = ""
    sha256: str = ""
    seconds: float | None = None
    cached: bool = False
    facts: Facts = field(default_factory=dict)
