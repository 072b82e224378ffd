"""Best weights of a training: those of the epoch that is best on the validation images, or of the last without them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from edgecnn.train.settings import Epoch


def snapshot(module: nn.Module) -> dict[str, Any]:
    """A copy of all that the module's state_dict holds, where it is."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else value
        for name, value in module.state_dict().items()
    }


class BestWeights:
    """The best epoch so far: highest validation accuracy, then lowest validation loss, then the earliest.

    `weights` are those of epoch `number`, or of the start while there is none.
    """

    def __init__(self, module: nn.Module) -> None:
        self.number = 0
        self.weights = snapshot(module)
        self._score = (-math.inf, -math.inf)

    def offer(self, number: int, epoch: Epoch, module: nn.Module) -> bool:
        """Whether epoch `number`, whose weights `module` holds, is now the one that is kept."""
        if epoch.validation_accuracy is not None:
            loss = epoch.validation_loss
            score = (epoch.validation_accuracy, -math.inf if loss is None else -loss)
            if self.number and score <= self._score:
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
        module.load_state_dict(self.weights)
