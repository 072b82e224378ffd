"""Report: the result of one run as dataclasses, written to report.json and read back from it (`Report.load`).

The JSON's shape is `SCHEMA`. Keys may be added to it; a change that an old reader would misread takes a new number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from math import nan
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, TypeAdapter

from edgecnn.core import plugins
from edgecnn.core.outcome import EXIT_CODES, Outcome
from edgecnn.core.result import Result
from edgecnn.formats.fusion import Fusion
from edgecnn.report import archive, html, markdown
from edgecnn.report.document import Document
from edgecnn.report.facts import NO_BUDGET, BudgetFacts, DataFacts, Facts, ModelFacts, RecipeFacts, StageFacts
from edgecnn.report.search import Search
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.tasks.task import TOP_1, Metric

SCHEMA = "edgecnn.report/1"
FLOOR_DB = 40.0
"""An FP32 file below this does not compute what PyTorch computes: rounding alone leaves more than 100 dB."""
NO_DIFFERENCE = 1e-6
"""Outputs that differ by no more are equal, whatever share of a network's answers that is."""
Time = Annotated[float, BeforeValidator(lambda value: nan if value is None else value)]
"""A time; NaN where the archive has none, because the board was emulated or the figure was not finite."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a file is worth on the evaluation images, in `runtime`. Shares are in [0, 1]; `drop` is against the
    checkpoint in PyTorch and `drop_low`, `drop_high` bound it (see `tasks.task.Judgement`). `stand_in` says which
    runtime could not be used, if so. A task other than classification has a `score` of its `metric` in place of top-1,
    and `drop` is in its unit."""

    runtime: str
    images: int
    correct: int | None
    top1: float | None
    agreement: float | None = None
    broke: int | None = None
    fixed: int | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    stand_in: str = ""
    metric: str = "top-1"
    score: float | None = None

    @property
    def value(self) -> float | None:
        """The figure that the budget is about, top-1 or another; None without labels."""
        return self.score if self.top1 is None else self.top1


@dataclass(frozen=True, slots=True)
class Parity:
    """Outputs against PyTorch on the same real images: largest absolute difference, mean cosine,
    signal-to-quantization-noise in dB (None when the outputs are equal), share of images answered alike."""

    images: int
    max_abs_diff: float
    cosine: float
    sqnr_db: float | None
    agreement: float

    @property
    def departs(self) -> bool:
        """Whether an FP32 file with these figures computes something else than PyTorch."""
        return self.sqnr_db is not None and self.sqnr_db < FLOOR_DB and self.max_abs_diff > NO_DIFFERENCE


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds and bytes; `peak_rss_bytes` is None where nobody could tell. `interval` is `ci95` (bootstrap over
    processes) or `range` (too few processes for one). `p90_bound_ms` is the distribution-free 99 % upper bound, None
    when there are too few samples. `speedup` is FP32 / this, in the same runtime, in [`speedup_low`,
    `speedup_high`]. `grade` is valid, degraded, unknown or invalid, for `reasons`; figures from an `emulated` board
    are never shown as its speed, and `Report.to_dict` leaves them out. `disturbed`: other programs took so much of the
    CPU that the figures are shown and decide nothing. `energy_mj` is per inference, gross, where
    power could be read (`power_source`: measured, sum of rails or estimated)."""

    median_ms: Time
    median_low_ms: Time
    median_high_ms: Time
    interval: str
    p90_ms: Time
    p90_bound_ms: float | None
    load_ms: Time
    first_ms: Time
    peak_rss_bytes: int | None
    threads: int
    processes: int
    samples: int
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    speedup_interval: str = ""
    conclusion: str = ""
    reasons: tuple[str, ...] = ()
    grade: str = ""
    emulated: bool = False
    energy_mj: float | None = None
    power_source: str = ""
    disturbed: bool = False

    @property
    def decides(self) -> bool:
        """Whether files may be chosen by the figures: they say something about the target, and nobody disturbed."""
        return self.counts and not self.disturbed

    @property
    def counts(self) -> bool:
        """Whether the figures say something about the target: neither emulated nor invalid."""
        return not self.emulated and self.grade != "invalid"


TIMES = (
    *("median_ms", "median_low_ms", "median_high_ms", "p90_ms", "p90_bound_ms", "load_ms", "first_ms"),
    *("speedup", "speedup_low", "speedup_high", "energy_mj"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One artifact. `status` is ok, failed or skipped; `reason` says why when it is not ok. `variant` names a network
    that is no longer the checkpoint's own: pruned, distilled, qat."""

    format: str
    precision: str
    backend: str
    status: str
    reason: str = ""
    file: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    outcome: Outcome | None = None
    outcome_why: str = ""
    accuracy: Accuracy | None = None
    parity: Parity | None = None
    speed: Speed | None = None
    fusion: Fusion | None = None
    warnings: tuple[str, ...] = ()
    variant: str = ""

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.format, self.precision, self.variant) if part)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the checkpoint's own network in FP32."""
        return self.precision == "fp32" and not self.variant


@dataclass(frozen=True, slots=True)
class Report(Result):
    """One run. `measured_on` says where latency and accuracy were taken, `device` what that machine says of itself;
    `elsewhere` is set when it is not the target, or only plays it; `out` is the run's folder, where it has one.
    `metric` is what `max_drop` and each row's `accuracy` are of. Each row's outcome, and each bound of its drop, is
    wrong with a probability of 1 - `confidence` at most. `verdict_of` names the bundled row whose
    outcome is the run's; empty where every candidate has to pass."""

    title: str
    outcome: Outcome
    outcome_why: str
    target: Facts
    host: Facts
    measured_on: str
    elsewhere: str
    model: ModelFacts
    data: DataFacts
    recipe: RecipeFacts
    max_drop: float
    profile: str
    rows: tuple[Row, ...]
    conclusions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    created: str = ""
    version: str = ""
    device: Facts = field(default_factory=dict)
    budget: BudgetFacts = NO_BUDGET
    searches: Annotated[tuple[Search, ...], Field(alias="climbs")] = ()
    metric: Metric = TOP_1
    confidence: float = CONFIDENCE
    verdict_of: str = ""
    schema: str = field(default=SCHEMA)
    out: Path | None = field(default=None, compare=False)

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 FAIL, 3 INCONCLUSIVE; 5 when a step failed, nothing worse is known and the verdict is not that of
        what is bundled alone."""
        failed = any(row.status == "failed" for row in self.rows) and not self.verdict_of
        return 5 if failed and self.outcome != "FAIL" else EXIT_CODES[self.outcome]

    @property
    def verdict(self) -> Outcome:
        """PASS, FAIL or INCONCLUSIVE."""
        return self.outcome

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values. An emulated board's times are None: only samples.json keeps them."""
        raw = {"schema": self.schema, "exit_code": self.exit_code, **_adapter().dump_python(self, **archive.DUMP)}
        del raw["out"]  # the archive lies in it
        if self.metric == TOP_1:
            del raw["metric"]
        for row in raw["rows"]:
            if row["speed"] and row["speed"]["emulated"]:
                row["speed"].update(dict.fromkeys(TIMES))
        return {key: archive.finite(value) for key, value in raw.items()}

    def document(self) -> Document:
        """The report as a document, for any renderer."""
        return cast(Document, plugins.resolve("edgecnn.report.optimization:document")(self))

    def to_json(self) -> str:
        """The report as one JSON document, as in report.json."""
        return archive.dumps(self.to_dict())

    def to_markdown(self) -> str:
        """The whole report as Markdown, as in report.md."""
        return markdown.render(self.document())

    def to_html(self) -> str:
        """The whole report as one self-contained HTML page."""
        return html.render(self.document())

    def _repr_html_(self) -> str:
        """The report in a notebook."""
        return html.fragment(self.document())

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """The report of a finished run, from its folder or its report.json.

        Raises InputError where there is none, where it is damaged, or where a newer edgecnn wrote it.
        """
        path = Path(path)
        report = archive.load(path, "report.json", SCHEMA, _adapter())
        return replace(report, out=path if path.is_dir() else path.parent)


@cache
def _adapter() -> TypeAdapter[Report]:
    """What turns a report into JSON values and back."""
    return TypeAdapter(Report)
