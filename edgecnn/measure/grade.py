"""Grade of a result: how far to believe it, from reasons that each have an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Effect = Literal["invalid", "degraded", "unknown", "note"]
Grade = Literal["valid", "degraded", "unknown", "invalid"]


@dataclass(frozen=True, slots=True)
class Reason:
    """A finding; `effect` is the grade it forces, or `note` when it forces none."""

    code: str
    effect: Effect
    message: str

    def __str__(self) -> str:
        return self.message


def grade_of(reasons: Sequence[Reason]) -> Grade:
    """The worst effect: invalid, then degraded, then unknown; valid when nothing was found."""
    effects = {reason.effect for reason in reasons}
    grades: tuple[Grade, ...] = ("invalid", "degraded", "unknown")
    return next((grade for grade in grades if grade in effects), "valid")
