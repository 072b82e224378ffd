"""The report as JSON: the archive, see `report.model.SCHEMA`."""

from __future__ import annotations

from edgecnn.report.archive import dumps
from edgecnn.report.model import Report


def render(report: Report) -> str:
    """The report as one JSON document that ends in a newline; NaN and infinity become null."""
    return dumps(report.to_dict())
