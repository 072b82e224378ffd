"""Differences between two models in a task's own terms: figures side by side, each class, the answers that broke."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group of images, such as a class: of its `images` `broke` became wrong and `fixed` right.

    `chance` is the adjusted p-value of "it loses no more than is allowed": an `alarm` where that is small.
    """

    name: str
    images: int
    broke: int
    fixed: int
    chance: float
    alarm: bool

    @property
    def drop(self) -> float:
        """The share of its images that was lost; negative where it gained."""
        return (self.broke - self.fixed) / self.images


@dataclass(frozen=True, slots=True)
class BrokenAnswer:
    """Image `row` is answered wrongly, or otherwise, by the candidate alone: what was right, what it says, how sure it
    is of that (a share)."""

    row: int
    expected: str
    answer: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Differences:
    """`figures` are (name, of the baseline, of the candidate, change, its bounds), as a report shows them; `groups`
    those with an alarm first; `broken` the surest first, a few dozen at most."""

    figures: tuple[tuple[str, str, str, str, str], ...] = ()
    groups: tuple[GroupChange, ...] = ()
    broken: tuple[BrokenAnswer, ...] = ()

    @property
    def alarms(self) -> tuple[GroupChange, ...]:
        return tuple(group for group in self.groups if group.alarm)
