"""Evaluation of a model: everything a renderer needs. The JSON of it is the archive; its shape is `SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgecnn.core.result import Result
from edgecnn.tasks.classification.metrics import ClassificationScores
from edgecnn.tasks.task import Scores

SCHEMA = "edgecnn.evaluation/1"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer: how sure the model was of it, and how probable it held the true class. `shown` is the file's
    name below the data folder. Images in memory have no `path`."""

    path: Path | None
    shown: str
    true: str
    predicted: str
    confidence: float
    true_confidence: float


@dataclass(frozen=True, slots=True)
class Evaluation(Result):
    """One file judged on labelled images. `tta` says in words which views were averaged, `views` how many; `hardest`
    are the most confident mistakes, worst first; `seconds` is what answering took."""

    renderer: ClassVar[str] = "edgecnn.report.evaluation.document:to_markdown"

    file: str
    model: Mapping[str, Any]
    runtime: str
    data: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    preprocessing_source: str
    tta: str
    views: int
    result: Scores
    hardest: tuple[Mistake, ...]
    notes: tuple[str, ...]
    seconds: float
    created: str
    version: str

    @property
    def classification(self) -> ClassificationScores | None:
        """The scores of a classifier, None for another task's."""
        return self.result if isinstance(self.result, ClassificationScores) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema": SCHEMA,
            "file": self.file,
            "model": dict(self.model),
            "runtime": self.runtime,
            "data": dict(self.data),
            "preprocessing": dict(self.preprocessing),
            "preprocessing_source": self.preprocessing_source,
            "test_time_augmentation": {"views": self.views, "words": self.tta},
            **self.result.to_dict(),
            "hardest": [{**asdict(item), "path": str(item.path) if item.path else None} for item in self.hardest],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "created": self.created,
            "version": self.version,
        }
