"""An audit as JSON. `edgecnn.audit/1` names its shape."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgecnn.report.audit.findings import findings, outcome
from edgecnn.report.audit.model import Audit

SCHEMA = "edgecnn.audit/1"


def to_dict(audit: Audit) -> dict[str, Any]:
    """Plain JSON values, every file by its name."""
    audit_findings = findings(audit)
    return {
        "schema": SCHEMA,
        "source": audit.source,
        "form": audit.form,
        "images": {part: audit.parts.count(part) for part in audit.balance.parts},
        "outcome": outcome(audit_findings),
        "findings": [asdict(finding) for finding in audit_findings],
        "classes": {name: dict(counts) for name, counts in audit.balance.counts.items()},
        "sizes": {part: asdict(sizes) for part, sizes in audit.sizes.items()},
        "modes": dict(audit.modes),
        "odd": {what: [audit.names[place] for place in places] for what, places in audit.odd.items()},
        "broken": {audit.names[place]: audit.looked.looks[place].error for place in audit.broken},
        "copies": [
            {
                "files": [audit.names[place] for place in group.places],
                "labels": [audit.label(place) for place in group.places],
                "exact": group.exact,
                "mirrored": group.mirrored,
            }
            for group in audit.copies
        ],
        "suspicious_labels": _doubts(audit),
        "skipped": dict(audit.skipped),
        "notes": list(audit.notes),
        "seconds": round(audit.seconds, 3),
        "created": audit.created,
        "version": audit.version,
    }


def _doubts(audit: Audit) -> dict[str, Any] | None:
    if audit.doubts is None:
        return None
    names = audit.doubts.class_names
    return {
        "model": audit.doubts.file,
        "runtime": audit.doubts.runtime,
        "judged": audit.doubts.judged,
        "top1": audit.doubts.top1,
        "images": [
            {
                "file": audit.names[item.place],
                "label": names[item.label],
                "suggested": names[item.suggested],
                "confidence": item.confidence,
                "label_confidence": item.label_confidence,
            }
            for item in audit.doubts.doubts
        ],
    }
