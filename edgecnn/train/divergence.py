"""Divergence: the first batch whose loss or gradient is not a finite number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edgecnn.core.errors import StepError
from edgecnn.core.stage import LabelledImages
from edgecnn.core.units import first_few

NAMED_IMAGES = 4
UNREAD = 32
CODE = "training-diverged"


class DivergenceCheck:
    """On the CPU every value is read; elsewhere many at once, for reading one makes the loop wait for the device."""

    def __init__(self, images: LabelledImages, device: torch.device) -> None:
        self.error: StepError | None = None
        self._images = images
        self._most = 1 if device.type == "cpu" else UNREAD
        self._unread: list[tuple[str, Tensor, Sequence[Tensor], str]] = []

    def note(self, what: str, value: Tensor, batches: Sequence[Tensor], when: str) -> None:
        """`what` (loss, gradient) was `value` on the images with these indices; `when` is for the message."""
        self._unread.append((what, value, batches, when))
        if len(self._unread) >= self._most:
            self.read()

    def read(self) -> None:
        """Set `error` to the error that names the first bad batch, if there is one."""
        unread, self._unread = self._unread, []
        if not unread or self.error is not None:
            return
        values = [float(unread[0][1])] if len(unread) == 1 else torch.stack([entry[1] for entry in unread]).tolist()
        for value, (what, _, batches, when) in zip(values, unread, strict=True):
            if not math.isfinite(value):
                self.error = self._error(what, value, torch.cat([part.cpu() for part in batches]).tolist(), when)
                return

    def _error(self, what: str, value: float, indices: Sequence[int], when: str) -> StepError:
        paths = getattr(self._images, "paths", None)
        names = [str(index if paths is None else paths[index]) for index in indices]
        shown = first_few(names, NAMED_IMAGES)
        return StepError(
            CODE,
            f"the training {what} is no longer a number",
            why=f"it was {value} {when}, on the batch with {'images ' if paths is None else ''}{shown}",
            hint="lower the learning rate, for example to a tenth, and look at these images",
        )
