"""Listing of a data source: files and the class written beside each, before anything is chosen or decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

EVALUATION_NAMES = ("val", "valid", "validation", "test")


class Sample(NamedTuple):
    """A file and the class name its folder or table gives it, empty where it gives none."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Files by purpose. `undivided` holds what names no purpose; it is set only where `train` or `evaluation` is
    missing.

    `origin` says where each part comes from; `labels` are all class names met, also those without images; `skipped`
    counts what was passed over.
    """

    root: Path
    form: str
    train: tuple[Sample, ...] = ()
    evaluation: tuple[Sample, ...] = ()
    undivided: tuple[Sample, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_unlabelled(self) -> bool:
        """Whether there is nothing but images without a class."""
        return not self.labels

    @property
    def samples(self) -> tuple[Sample, ...]:
        return (*self.train, *self.evaluation, *self.undivided)


def below(path: Path, root: Path) -> str:
    """A file's name as a person sees it: below the data folder where it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
