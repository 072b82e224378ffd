"""Everything a renderer of an audit needs. The JSON of it is the archive; its shape is `SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgecnn.data.audit.classes import Balance, Sizes
from edgecnn.data.audit.copies import Copies
from edgecnn.data.audit.images import Looked
from edgecnn.data.audit.labels import Doubt

SCHEMA = "edgecnn.workflows.audit/1"


@dataclass(frozen=True, slots=True)
class Doubts:
    """Labels the model disagrees with. `doubts` point at files of the audit and are sorted, the clearest first;
    `class_names` are those of the outputs, `judged` the images that were answered, `top1` the share of them answered
    as labelled."""

    file: str
    runtime: str
    class_names: tuple[str, ...]
    judged: int
    top1: float
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class Audit:
    """A data set looked at. Positions are those of `looked.samples`; `parts` has the part of each file: `train`,
    `val`, or `all` where the data is not divided; `names` each file's name below the folder."""

    source: str
    form: str
    looked: Looked
    parts: tuple[str, ...]
    names: tuple[str, ...]
    balance: Balance
    sizes: Mapping[str, Sizes]
    modes: Mapping[str, int]
    odd: Mapping[str, Sequence[int]]
    copies: tuple[Copies, ...]
    doubts: Doubts | None
    skipped: Mapping[str, int]
    notes: tuple[str, ...]
    seconds: float
    created: str
    version: str

    def label(self, place: int) -> str:
        return self.looked.samples[place].label

    @property
    def broken(self) -> list[int]:
        return [place for place, look in enumerate(self.looked.looks) if look.error]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every file by its name."""
        from edgecnn.report.audit.findings import findings, outcome

        found = findings(self)
        return {
            "schema": SCHEMA,
            "source": self.source,
            "form": self.form,
            "images": {part: self.parts.count(part) for part in self.balance.parts},
            "outcome": outcome(found),
            "findings": [asdict(finding) for finding in found],
            "classes": {name: dict(counts) for name, counts in self.balance.counts.items()},
            "sizes": {part: asdict(sizes) for part, sizes in self.sizes.items()},
            "modes": dict(self.modes),
            "odd": {what: [self.names[place] for place in places] for what, places in self.odd.items()},
            "broken": {self.names[place]: self.looked.looks[place].error for place in self.broken},
            "copies": [
                {
                    "files": [self.names[place] for place in group.places],
                    "labels": [self.label(place) for place in group.places],
                    "exact": group.exact,
                    "mirrored": group.mirrored,
                }
                for group in self.copies
            ],
            "suspicious_labels": self._doubts(),
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "created": self.created,
            "version": self.version,
        }

    def _doubts(self) -> dict[str, Any] | None:
        if self.doubts is None:
            return None
        names = self.doubts.class_names
        return {
            "model": self.doubts.file,
            "runtime": self.doubts.runtime,
            "judged": self.doubts.judged,
            "top1": self.doubts.top1,
            "images": [
                {
                    "file": self.names[item.place],
                    "label": names[item.label],
                    "suggested": names[item.suggested],
                    "confidence": item.confidence,
                    "label_confidence": item.label_confidence,
                }
                for item in self.doubts.doubts
            ],
        }
