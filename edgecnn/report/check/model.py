"""Check: a candidate against its baseline, and whether it may be shipped. Its JSON's shape is `SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgecnn.core.outcome import EXIT_CODES, Outcome
from edgecnn.core.result import Result
from edgecnn.tasks.differences import BrokenAnswer, Differences
from edgecnn.tasks.task import Judgement, Metric

SCHEMA = "edgecnn.check/1"
WORST_FIRST: tuple[Outcome, ...] = ("FAIL", "INCONCLUSIVE", "PASS")


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that is asked of the candidate, and what came of it. `name`: accuracy, classes, latency or size."""

    name: str
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """One side: the file, what it says of itself, where it ran, and its bytes. A baseline file has no `path`."""

    name: str
    format: str
    architecture: str
    sha256: str
    runtime: str
    size_bytes: int
    path: Path | None = None
    preprocessing: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """How far the raw outputs lie apart: signal to noise in dB (None where they are equal) and mean cosine."""

    sqnr_db: float | None
    cosine: float


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """Candidate time over baseline time, measured interleaved, with its 95 % interval (or range) and the grade."""

    ratio: float
    low: float
    high: float
    interval: str
    blocks: int
    baseline_ms: float
    candidate_ms: float
    grade: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangedImage:
    """An image that the candidate alone answers wrongly, or otherwise; `shown` is its name below the data folder."""

    shown: str
    path: Path | None
    answer: BrokenAnswer


@dataclass(frozen=True, slots=True)
class RegressionCheck(Result):
    """The whole of it. `judged` images decided, of `available`; `departing` names the first layer that departs."""

    renderer: ClassVar[str] = "edgecnn.report.check.document:to_markdown"

    baseline: CheckedModel
    candidate: CheckedModel
    data: Mapping[str, Any]
    metric: Metric
    judgement: Judgement
    max_drop: str
    gates: tuple[Gate, ...]
    differences: Differences
    changed: tuple[ChangedImage, ...]
    outputs: OutputDifference | None
    latency: LatencyRatio | None
    judged: int
    looks: int
    departing: str
    created: str
    version: str
    available: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    alone: bool = False
    """Whether one model alone was recorded: there is nothing to judge."""
    wrote: tuple[str, ...] = ()
    """The baseline files that were written."""

    @property
    def outcome(self) -> Outcome:
        """The worst of the gates'."""
        return min((gate.outcome for gate in self.gates), key=WORST_FIRST.index)

    @property
    def why(self) -> str:
        """What each gate with that outcome says."""
        return "; ".join(gate.why for gate in self.gates if gate.outcome == self.outcome)

    @property
    def exit_code(self) -> int:
        """That of the outcome; 0 where one model was recorded."""
        return 0 if self.alone else EXIT_CODES[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        judgement = asdict(self.judgement)
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "why": self.why,
            "baseline": _plain(self.baseline),
            "candidate": _plain(self.candidate),
            "data": dict(self.data),
            "metric": self.metric.name,
            "max_drop": self.max_drop,
            "gates": [asdict(gate) for gate in self.gates],
            "accuracy": judgement,
            "figures": [
                dict(zip(("name", "baseline", "candidate", "change", "bounds"), figure, strict=True))
                for figure in self.differences.figures
            ],
            "classes": [{**asdict(group), "drop": group.drop} for group in self.differences.groups],
            "changed": [
                {"image": item.shown, **{k: v for k, v in asdict(item.answer).items() if k != "row"}}
                for item in self.changed
            ],
            "outputs": asdict(self.outputs) if self.outputs else None,
            "latency": asdict(self.latency) if self.latency else None,
            "judged": self.judged,
            "available": self.available,
            "looks": self.looks,
            "first_departing_layer": self.departing,
            "notes": list(self.notes),
            "wrote": list(self.wrote),
            "seconds": round(self.seconds, 3),
            "created": self.created,
            "version": self.version,
        }


def _plain(model: CheckedModel) -> dict[str, Any]:
    return {**asdict(model), "path": None if model.path is None else str(model.path)}
