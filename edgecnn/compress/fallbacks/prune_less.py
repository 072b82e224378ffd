"""Fallback `prune-less`: a larger share of the network stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.prune.stage import Prune
from edgecnn.core.quantities import Amount


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
        if not stage.amount.is_share:  # bytes and milliseconds are the user's own limit
            return
        share = stage.amount.value
        for _ in range(self.steps):
            share = (1 + share) / 2
            amount = round(share, 3) if stage.cost in ("macs", "parameters") else Amount(round(share, 3))
            less = stage.model_copy(update={stage.cost: amount})
            yield Attempt(f"{self.kind} {stage.cost} {share:.0%}", (*stages[:place], less, *stages[place + 1 :]))
