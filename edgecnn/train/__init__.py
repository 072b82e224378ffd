"""Training: the loop that learns, and images made from a network's own statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecnn.train.settings import Augment, Epoch, History, TrainingImages, TrainSettings

if TYPE_CHECKING:
    from edgecnn.train.loop import fit, measure, measure_accuracy

__all__ = ["Augment", "Epoch", "History", "TrainSettings", "TrainingImages", "fit", "measure", "measure_accuracy"]


def __getattr__(name: str) -> Any:
    """`fit` and what measures import torch: only when they are asked for."""
    if name in ("fit", "measure", "measure_accuracy"):
        from edgecnn.train import loop

        return getattr(loop, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
