"""An audit as JSON. `edgecnn.workflows.audit/1` names its shape."""

from __future__ import annotations

import json

from edgecnn.report.audit.model import Audit


def render(audit: Audit) -> str:
    """One JSON document that ends in a newline."""
    return json.dumps(audit.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
