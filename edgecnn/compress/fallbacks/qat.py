"""Fallback `qat`: quantization-aware training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.qat.stage import Epochs, Qat, QatSettings, Training
from edgecnn.formats.quantize_stage import Quantize


class TrainForGrid(Fallback):
    """Quantization-aware training with the FP32 network as teacher, each attempt longer than the one before."""

    kind: ClassVar[str] = "qat"
    changes: ClassVar[str] = "quantize"
    trains: ClassVar[bool] = True

    epochs: tuple[Epochs, ...] = Field(default=(0.25, 1.0), min_length=1)
    training: Training = QatSettings()

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        place = next((index for index, stage in enumerate(stages) if isinstance(stage, Quantize)), None)
        if place is None or any(isinstance(stage, Qat) for stage in stages):
            return
        for epochs in self.epochs:
            shown = f"{epochs:g} epoch{'' if epochs == 1 else 's'}"
            stage = Qat(epochs=epochs, training=self.training)
            yield Attempt(f"{self.kind} {shown}", (*stages[:place], stage, *stages[place:]))
