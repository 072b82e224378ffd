"""The rung `prune-less`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.prune.stage import MEASURES, Prune


class PruneLess(Fallback):
    """Less is pruned away: halfway back to the whole network, then halfway again."""

    kind: ClassVar[str] = "prune-less"
    changes: ClassVar[str] = "prune"
    costs_latency: ClassVar[bool] = True

    steps: int = Field(default=2, ge=1, le=8)

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        place = next((index for index, stage in enumerate(stages) if isinstance(stage, Prune)), None)
        if place is None:
            return
        stage = stages[place]
        assert isinstance(stage, Prune)
        measure, kept = _amount(stage)
        for _ in range(self.steps if measure else 0):
            kept = (1 + kept) / 2
            share = round(kept, 3)
            less = stage.model_copy(update={measure: share if measure in ("macs", "parameters") else f"{share:g}"})
            yield Attempt(f"{self.kind} {measure} {kept:.0%}", (*stages[:place], less, *stages[place + 1 :]))


def _amount(stage: Prune) -> tuple[str, float]:
    """What the pruning was asked to keep, where that is a share of the whole: bytes and milliseconds are the user's
    own limit."""
    measure = next(name for name in MEASURES if getattr(stage, name) is not None)
    wanted = getattr(stage, measure)
    return ("", 1.0) if str(wanted).endswith((" B", " ms")) else (measure, float(wanted))
