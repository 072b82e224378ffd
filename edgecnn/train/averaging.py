"""Moving average of the weights (EMA): it is evaluated and stored in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average over a module's parameters and floating buffers; whole-number buffers follow.

    Batch-norm statistics are averaged with the weights they belong to: those of the live network fit weights that the
    average has not reached. While few steps are taken the decay is (1 + n) / (10 + n), so that the weights of the start
    are soon forgotten. Source: B. Polyak and A. Juditsky, 1992; the warm-up is TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        tensors = {id(value): value.detach() for value in (*module.parameters(), *module.buffers())}
        self._live = [value for value in tensors.values() if value.is_floating_point()]
        self._kept = [value.clone() for value in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """After every optimizer step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._kept, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged weights; its own come back."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for kept, live in zip(self._kept, self._live, strict=True):
            held = live.clone()
            live.copy_(kept)
            kept.copy_(held)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "kept": [value.cpu() for value in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._steps = int(state["steps"])
        for value, saved in zip(self._kept, state["kept"], strict=True):
            value.copy_(saved)
