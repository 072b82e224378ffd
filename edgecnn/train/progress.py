"""Progress of a training: loss, accuracy, images per second, time left, and a warning where loading is too slow."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecnn.core.events import Listener, Progress, Warned
from edgecnn.core.units import estimate
from edgecnn.tasks.task import Metric
from edgecnn.train.settings import Epoch, TrainSettings

STEP = "train"
TELL_EVERY_S = 0.5
WAITING_SHARE = 0.3
WAITING_S = 1.0
"""Nobody minds waiting for less."""


@dataclass(slots=True)
class EpochSums:
    """Over an epoch's batches so far, on the device: nothing waits for them. `labelled` images have a
    label, and answers that are right or wrong."""

    lost: Tensor
    right: Tensor
    seen: int = 0
    labelled: int = 0

    @classmethod
    def of(cls, device: torch.device, values: tuple[float, ...] = (0, 0, 0, 0)) -> EpochSums:
        lost, right, seen, labelled = values
        start = torch.tensor([lost, right], dtype=torch.float64).to(device)
        return cls(start[0], start[1], int(seen), int(labelled))

    def add(self, loss: Tensor, count: int, right: Tensor | None) -> None:
        """A batch of `count` images, of which so many are answered right; None where that is not known."""
        self.lost += loss * count
        self.seen += count
        if right is not None:
            self.right += right
            self.labelled += count

    def values(self) -> tuple[float, ...]:
        return float(self.lost), float(self.right), float(self.seen), float(self.labelled)


class ProgressReporter:
    """Tells Progress: often within an epoch (steps of the whole run), once for each epoch; warns once of waiting."""

    def __init__(
        self, listener: Listener, settings: TrainSettings, metric: Metric, *, batches: int, world: int
    ) -> None:
        self._listener = listener
        self._metric = metric
        self._epochs = settings.epochs
        self._batches = batches
        self._world = world
        self._began = self._last = self._epoch_began = time.perf_counter()
        self._done = 0
        self._seen_before = 0
        self._validation = ""
        self._warned = False

    def begin(self, sums: EpochSums) -> None:
        """An epoch begins, or goes on where it was interrupted."""
        self._epoch_began = time.perf_counter()
        self._seen_before = sums.seen

    def batch(self, number: int, done: int, sums: EpochSums) -> None:
        """`done` batches of epoch `number` are done."""
        self._done += 1
        now = time.perf_counter()
        if now - self._last < TELL_EVERY_S:
            return
        self._last = now
        lost, right, seen, labelled = sums.values()
        words = [f"epoch {number}/{self._epochs}", f"loss {lost / seen:.3f}"]
        words += [f"{right / labelled:.1%}{self._validation}"] if labelled else []
        words += [f"{self.rate(sums):.0f}/s", self._left(number, done)]
        steps = self._epochs * self._batches
        taken = (number - 1) * self._batches + done
        self._listener(Progress(STEP, taken, steps, unit="step", note=", ".join(words), fine=True))

    def rate(self, sums: EpochSums) -> float:
        """Images per second of this epoch so far, of all processes together."""
        return (sums.seen - self._seen_before) * self._world / max(1e-9, time.perf_counter() - self._epoch_began)

    def epoch(self, number: int, epoch: Epoch) -> None:
        words = [f"loss {epoch.loss:.3f}"]
        if epoch.train_accuracy is not None:
            words.append(f"training {epoch.train_accuracy:.2%}")
        if epoch.score is not None:
            words.append(f"validation {self._metric.text(epoch.score)}")
        if epoch.validation_accuracy is not None:
            self._validation = f" (val {epoch.validation_accuracy:.1%})"
        words.append(f"{epoch.images_per_second:.0f} images/s")
        if number < self._epochs:
            words.append(self._left(number, self._batches))
        self._listener(Progress(STEP, number, self._epochs, unit="epoch", note=", ".join(words)))

    def waited(self, number: int, waited_s: float, seconds: float) -> None:
        """Warn, once, when the loop waited for images. The first of several epochs also fills the cache."""
        if self._warned or (number == 1 and self._epochs > 1):
            return
        if waited_s > max(WAITING_S, WAITING_SHARE * seconds):
            self._warned = True
            self._listener(
                Warned(
                    "loader-bound",
                    f"training waits for images: {waited_s:.1f} of {seconds:.1f} s in epoch {number}",
                    hint="set workers to the number of cores, cache to on, or store the images smaller",
                )
            )

    def _left(self, number: int, done: int) -> str:
        taken = (number - 1) * self._batches + done
        rest = self._epochs * self._batches - taken
        return f"{estimate((time.perf_counter() - self._began) * rest / max(1, self._done))} left"
