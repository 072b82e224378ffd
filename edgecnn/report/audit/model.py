"""Audit of a data set: everything a renderer needs. The JSON of it is the archive; its shape is `SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecnn.data.audit.classes import Balance, Sizes
from edgecnn.data.audit.copies import Copies
from edgecnn.data.audit.images import ScannedImages
from edgecnn.data.audit.labels import LabelDoubt


@dataclass(frozen=True, slots=True)
class LabelDoubts:
    """Labels the model disagrees with. `doubts` point at files of the audit and are sorted, the clearest first;
    `class_names` are those of the outputs, `judged` the images that were answered, `top1` the share of them answered
    as labelled."""

    file: str
    runtime: str
    class_names: tuple[str, ...]
    judged: int
    top1: float
    doubts: tuple[LabelDoubt, ...]


@dataclass(frozen=True)
class Audit:
    """A data set looked at. Positions are those of `looked.samples`; `parts` has the part of each file: `train`,
    `val`, or `all` where the data is not divided; `names` each file's name below the folder."""

    source: str
    form: str
    looked: ScannedImages
    parts: tuple[str, ...]
    names: tuple[str, ...]
    balance: Balance
    sizes: Mapping[str, Sizes]
    modes: Mapping[str, int]
    odd: Mapping[str, Sequence[int]]
    copies: tuple[Copies, ...]
    doubts: LabelDoubts | None
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
