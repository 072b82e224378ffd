"""An evaluation as JSON. `edgecnn.evaluation/1` names its shape."""

from __future__ import annotations

import json

from edgecnn.report.evaluation.model import Evaluation


def render(evaluation: Evaluation) -> str:
    """One JSON document that ends in a newline."""
    return json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
