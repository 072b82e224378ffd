"""Fallback `weight-bits`: 7-bit weights where this CPU's sums of 8-bit products overflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.qat.stage import Qat
from edgecnn.core.stage import Stage
from edgecnn.formats.quantize_stage import Quantize


class WeightBits(Fallback):
    """7-bit weights. They give up one bit of every weight, and no sum of two products overflows 16 bits."""

    kind: ClassVar[str] = "weight-bits"
    changes: ClassVar[str] = "quantize"
    is_basis: ClassVar[bool] = True

    def applies(self, known: Known) -> bool:
        return known.saturates

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        if any(isinstance(stage, Quantize) and stage.weight_bits > 7 for stage in stages):
            yield Attempt("7-bit weights", tuple(map(_narrowed, stages)))


def _narrowed(stage: Stage) -> Stage:
    return stage.model_copy(update={"weight_bits": 7}) if isinstance(stage, Quantize | Qat) else stage
