"""Optimizer step: mixed precision, gradient accumulation, clipping, learning rate, weight average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.models.versions import load_state
from edgecnn.train import optimizer, precision, schedule
from edgecnn.train.averaging import WeightAverage
from edgecnn.train.parallel import ProcessGroup
from edgecnn.train.settings import Batch, Objective, TrainSettings


class Stepper:
    """Optimizer, schedule, loss scaling and average of one training run of `steps` optimizer steps.

    `module` is the network itself, already on the group's device; frozen parameters want no gradient.
    """

    def __init__(self, module: nn.Module, settings: TrainSettings, *, group: ProcessGroup, steps: int) -> None:
        self.module = module
        self._dtype = precision.choose(settings.mixed_precision, module, group.device)
        self.format = precision.name_of(self._dtype)
        self.taken = 0
        self.rate = 0.0
        self.average = WeightAverage(module, settings.ema) if settings.ema is not None else None
        self._settings = settings
        self._steps = steps
        self._group = group
        self._optimizer = optimizer.build(module, settings)
        self._trained = [p for part in self._optimizer.param_groups for p in part["params"]]
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=self._dtype is torch.float16)
        self._wrapped = group.wrap(module)

    def training_mode(self, still: Sequence[nn.Module]) -> None:
        """Everything learns but the batch-norm statistics of `still`."""
        self._wrapped.train()
        for layer in still:
            layer.eval()

    def part(self, objective: Objective, batch: Batch, *, parts: int, last: bool) -> tuple[Tensor, Tensor]:
        """(detached loss, detached logits) of one of the `parts` batches of a step; gradients are added up."""
        device = self._group.device.type
        if last:
            return self._backward(objective, batch, parts, device)
        with self._group.quiet(self._wrapped):
            return self._backward(objective, batch, parts, device)

    def _backward(self, objective: Objective, batch: Batch, parts: int, device: str) -> tuple[Tensor, Tensor]:
        with torch.autocast(device, dtype=self._dtype, enabled=self._dtype is not None):
            loss, logits = objective(self._wrapped, batch)
        self._scaler.scale(loss if parts == 1 else loss / parts).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), logits.detach()

    def finish(self) -> Tensor | None:
        """Take the step; the gradient's norm where it is clipped, and where it has to be a number."""
        self.rate = self._settings.learning_rate * schedule.share(self._settings, self.taken, self._steps)
        optimizer.set_rate(self._optimizer, self.rate)
        norm = None
        if self._settings.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            norm = nn.utils.clip_grad_norm_(self._trained, self._settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.taken += 1
        if self.average is not None:
            self.average.update()
        # Scaled gradients overflow now and then: the scaler leaves such a step out and scales less.
        return None if self._scaler.is_enabled() else norm

    def state_dict(self) -> dict[str, Any]:
        return {
            "taken": self.taken,
            "rate": self.rate,
            "weights": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.taken, self.rate = state["taken"], state["rate"]
        load_state(self.module, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
