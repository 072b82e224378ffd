"""The rung `qat`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from edgecnn.compress.qat.stage import Qat
from edgecnn.compress.rungs import Attempt, Known, Rung, Stages
from edgecnn.quantize.stage import Quantize


class Train(Rung):
    """Quantization-aware training with the FP32 network as teacher, each attempt longer than the one before."""

    kind: ClassVar[str] = "qat"
    changes: ClassVar[str] = "quantize"
    trains: ClassVar[bool] = True

    epochs: tuple[float, ...] = Field(default=(0.25, 1.0), min_length=1)
    training: dict[str, Any] = Field(default_factory=dict)
    """Options of the `qat` stage's `training`."""

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        place = next((index for index, stage in enumerate(stages) if isinstance(stage, Quantize)), None)
        if place is None or any(isinstance(stage, Qat) for stage in stages):
            return
        for epochs in self.epochs:
            shown = f"{epochs:g} epoch{'' if epochs == 1 else 's'}"
            yield Attempt(f"{self.kind} {shown}", (*stages[:place], self._stage(epochs), *stages[place:]))

    def _stage(self, epochs: float) -> Qat:
        return Qat.model_validate({"epochs": epochs, **({"training": self.training} if self.training else {})})
