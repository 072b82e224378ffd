"""Everything a renderer of an evaluation needs. The JSON of it is the archive; its shape is `SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.tasks.classification.metrics import ClassificationScores, Share

SCHEMA = "edgecnn.evaluation/1"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer: how sure the model was of it, and how probable it held the true class. `shown` is the file's
    name below the data folder."""

    path: Path
    shown: str
    true: str
    predicted: str
    confidence: float
    true_confidence: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One file judged on labelled images. `tta` says in words which views were averaged, `views` how many; `hardest`
    are the most confident mistakes, worst first; `seconds` is what answering took."""

    file: str
    model: Mapping[str, Any]
    runtime: str
    data: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    preprocessing_source: str
    tta: str
    views: int
    result: ClassificationScores
    hardest: tuple[Mistake, ...]
    notes: tuple[str, ...]
    seconds: float
    created: str
    version: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(score.name for score in self.result.classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. The confusion matrix as its cells that are not 0: [true class, predicted class,
        images]."""
        result = self.result
        places = np.argwhere(result.confusion)
        return {
            "schema": SCHEMA,
            "file": self.file,
            "model": dict(self.model),
            "runtime": self.runtime,
            "data": dict(self.data),
            "preprocessing": dict(self.preprocessing),
            "preprocessing_source": self.preprocessing_source,
            "test_time_augmentation": {"views": self.views, "words": self.tta},
            "images": result.images,
            "top1": _share(result.top1),
            "top5": _share(result.top5) if result.top5 is not None else None,
            "macro": asdict(result.macro),
            "weighted": asdict(result.weighted),
            "confidence": result.confidence,
            "calibration_error": result.calibration_error,
            "calibration_bins": [asdict(item) for item in result.bins],
            "classes": [asdict(score) for score in result.classes],
            "confusion": [[int(row), int(column), int(result.confusion[row, column])] for row, column in places],
            "hardest": [{**asdict(item), "path": str(item.path)} for item in self.hardest],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "created": self.created,
            "version": self.version,
        }


def _share(share: Share) -> dict[str, Any]:
    return {
        "value": share.value,
        "correct": share.events,
        "images": share.count,
        "low": share.low,
        "high": share.high,
        "interval": "Wilson, 95 %",
    }
