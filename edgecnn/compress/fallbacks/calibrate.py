"""Fallback `calibrate`: other estimates of the activation ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.quantize.options import Observer

COLLAPSED = 0.9
"""Below this agreement with FP32 another range estimate does not win the answers back."""


class Calibrate(Fallback):
    """Other estimates of the activation ranges, on the same images."""

    kind: ClassVar[str] = "calibrate"
    changes: ClassVar[str] = "quantize"

    observers: tuple[Observer, ...] = ("mse", "percentile")

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        tried = {stage.observer for stage in stages if isinstance(stage, Quantize)}
        for observer in self.observers:
            if tried and observer not in tried:
                yield Attempt(f"{self.kind} {observer}", quantizing(stages, observer=observer))

    def skip_reason(self, known: Known) -> str:
        if known.agreement is None or known.agreement >= COLLAPSED:
            return ""
        return f"only {known.agreement:.0%} of answers agree with FP32: ranges alone do not win that back"


def quantizing(stages: Stages, **options: Any) -> Stages:
    """The stages with other options of `quantize`."""
    return tuple(stage.model_copy(update=options) if isinstance(stage, Quantize) else stage for stage in stages)
