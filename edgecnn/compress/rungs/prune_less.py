"""The rung `prune-less`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from edgecnn.compress.prune.stage import Prune
from edgecnn.compress.rungs import Attempt, Known, Rung, Stages


class PruneLess(Rung):
    """Less is pruned away: halfway back to the whole network, then halfway again."""

    kind: ClassVar[str] = "prune-less"
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
            less = stage.model_copy(update={measure: round(kept, 3)})
            yield Attempt(f"{self.kind} {measure} {kept:.0%}", (*stages[:place], less, *stages[place + 1 :]))


def _amount(stage: Prune) -> tuple[Literal["macs", "parameters", ""], float]:
    """What the pruning was asked to keep, where that is a share of the whole."""
    if stage.macs is not None:
        return "macs", stage.macs
    if stage.parameters is not None:
        return "parameters", stage.parameters
    return "", 1.0
