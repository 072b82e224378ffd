"""Best weights of a training: those of the epoch that is best on the validation images, or of the last without them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from edgecnn.models.versions import load_state
from edgecnn.tasks.task import TOP_1, Metric
from edgecnn.train.settings import Epoch


def snapshot(module: nn.Module) -> dict[str, Any]:
    """A copy of all that the module's state_dict holds, where it is."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else value
        for name, value in module.state_dict().items()
    }


def rank(epoch: Epoch, metric: Metric) -> tuple[float, float]:
    """What makes an epoch better than another on the validation images: the metric, then the loss."""
    score = -math.inf if epoch.score is None else epoch.score
    loss = math.inf if epoch.validation_loss is None else epoch.validation_loss
    return (-score if metric.lower_is_better else score, -loss)


class BestWeights:
    """The best epoch so far: best in the task's metric, then lowest validation loss, then the latest.

    `weights` are those of epoch `number`, or of the start while there is none.
    """

    def __init__(self, module: nn.Module, metric: Metric = TOP_1) -> None:
        self.number = 0
        self._metric = metric
        self.weights = snapshot(module)
        self._score = (-math.inf, -math.inf)

    def offer(self, number: int, epoch: Epoch, module: nn.Module) -> bool:
        """Whether epoch `number`, whose weights `module` holds, is now the one that is kept."""
        if epoch.score is not None:
            score = rank(epoch, self._metric)
            if self.number and score < self._score:
                return False
            self._score = score
        self.number, self.weights = number, snapshot(module)
        return True

    def state_dict(self) -> dict[str, Any]:
        """All but the weights."""
        return {"number": self.number, "score": self._score}

    def load_state_dict(self, state: Mapping[str, Any], weights: dict[str, Any]) -> None:
        self.number, self._score, self.weights = state["number"], state["score"], weights

    def restore(self, module: nn.Module) -> None:
        load_state(module, self.weights)
