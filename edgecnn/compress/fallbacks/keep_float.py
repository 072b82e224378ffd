"""Fallback `keep-float`: the most sensitive layers stay in float."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.fallbacks.calibrate import quantizing
from edgecnn.formats.quantize_stage import Quantize


class KeepFloat(Fallback):
    """Layers whose tensor INT8 destroys stay in float, then those that lose most. Each costs time: INT8 ends before it
    and begins again behind it."""

    kind: ClassVar[str] = "keep-float"
    changes: ClassVar[str] = "quantize"
    costs_latency: ClassVar[bool] = True

    layers: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(1, 2, 4), min_length=1)

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        quantizers = [stage for stage in stages if isinstance(stage, Quantize)]
        if not quantizers:
            return
        already = frozenset(name for stage in quantizers for name in stage.keep_float)
        for group in known.destroying():
            if not already.issuperset(group):
                shown = ", ".join(group[:2]) + (f" and {len(group) - 2} more" if len(group) > 2 else "")
                kept = tuple(dict.fromkeys((*sorted(already), *group)))
                yield Attempt(f"{self.kind} {shown}", quantizing(stages, keep_float=kept))
        worst = [name for name in known.worst_layers(max(self.layers)) if name not in already]
        for count in self.layers:
            if count <= len(worst):
                names = ", ".join(worst[:count]) if count < 3 else f"{count} layers"
                kept = (*sorted(already), *worst[:count])
                yield Attempt(f"{self.kind} {names}", quantizing(stages, keep_float=kept))
