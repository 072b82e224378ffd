"""The report as JSON: the archive. Its shape is `report.model.SCHEMA`; the rest may only grow."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgecnn.report.model import Report


def render(report: Report) -> str:
    """The report as one JSON document that ends in a newline; NaN and infinity become null."""
    return json.dumps(_finite(report.to_dict()), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
