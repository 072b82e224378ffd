"""Training run, epoch after epoch: train, validate, remember the best weights, save the state, report progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from edgecnn.core.errors import StepError
from edgecnn.core.events import Listener, ignore
from edgecnn.tasks.task import TOP_1, Metric
from edgecnn.train import norms
from edgecnn.train.best_weights import BestWeights
from edgecnn.train.divergence import CODE, DivergenceCheck
from edgecnn.train.interruption import Interruption
from edgecnn.train.optimizer_step import Stepper
from edgecnn.train.parallel import ProcessGroup
from edgecnn.train.progress import EpochSums, ProgressReporter
from edgecnn.train.randomness import Randomness
from edgecnn.train.settings import Batch, Epoch, Feed, History, Objective, TrainingImages, TrainSettings
from edgecnn.train.state import RunState, unpack
from edgecnn.train.task_training import CLASSIFICATION, TaskTraining
from edgecnn.train.validation import Validator

EpochCallback = Callable[[int, Epoch, nn.Module], None]
LOOKED_AT = 8
"""Training images that a network without validation images answers after each epoch."""
AGREE_EVERY = 8
"""Steps after which several processes ask each other whether to stop: asking after each would cost."""


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What a run works on. `still` are the batch-norm layers whose statistics stay; `training` and `metric` are the
    task's."""

    module: nn.Module
    images: TrainingImages
    settings: TrainSettings
    objective: Objective
    feed: Feed
    seed: int
    still: Sequence[nn.Module] = ()
    training: TaskTraining = CLASSIFICATION
    metric: Metric = TOP_1


class TrainingRun:
    """The epochs of one run. `go` ends with the kept weights in the module."""

    def __init__(self, task: RunInputs, group: ProcessGroup) -> None:
        self._task, self._group = task, group
        settings, validation = task.settings, task.images.validation
        steps = -(-len(task.feed) // settings.accumulate)
        self._stepper = Stepper(task.module, settings, group=group, steps=settings.epochs * steps)
        self._random = Randomness(task.seed, group.rank, group.device)
        self._divergence = DivergenceCheck(task.images.train, group.device)
        self._validator: Validator | None = None
        if validation is not None and group.is_first:
            self._validator = Validator(validation, task.training, hold=settings.cache != "off")
        self._best = BestWeights(task.module, task.metric)
        self._epochs: list[Epoch] = []
        self._stopped = ""
        self._batches_done = 0
        """Batches of the epoch under way that have been learned from."""
        self._sums = EpochSums.of(group.device)
        self._state: RunState | None = None
        self._interruption = Interruption()
        self._progress = self._reporter(ignore)

    @property
    def arithmetic(self) -> str:
        """Kind of device and number format: with another, the same run ends with other weights."""
        return f"{self._group.device.type} {self._stepper.format}"

    def _reporter(self, listener: Listener) -> ProgressReporter:
        task = self._task
        return ProgressReporter(listener, task.settings, task.metric, batches=len(task.feed), world=self._group.world)

    def resume(self, disk: RunState | None) -> None:
        """Go on from the state on the first process's disk, if there is one, and save there from now on."""
        self._state = disk
        raw = self._group.bytes_of_first(disk.load() if disk else b"")
        if not raw:
            return
        state = unpack(raw)
        best = unpack(self._group.bytes_of_first(disk.load_best(state["kept"]["number"]) if disk else b""))
        self._stepper.load_state_dict(state["stepper"])
        self._best.load_state_dict(state["kept"], best)
        self._epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self._stopped, self._batches_done = state["stopped"], state["done"]
        if self._group.is_first:  # the sums are of all processes
            self._sums = EpochSums.of(self._group.device, state["sums"])

    def go(self, asked: Interruption, *, listener: Listener, watch: EpochCallback | None) -> History:
        """Train to the end. Raises KeyboardInterrupt when `asked`, StepError when the loss is no number."""
        settings = self._task.settings
        self._interruption = asked
        self._progress = self._reporter(listener)
        try:
            while len(self._epochs) < settings.epochs and not self._stopped:
                self._epoch(len(self._epochs) + 1, watch if self._group.is_first else None)
            if asked.asked:  # after the last step: all is saved
                raise asked.error()
        except StepError as error:
            if error.code == CODE:
                kept = self._best.number
                error.why += f"; the network has the weights of {f'epoch {kept}' if kept else 'the beginning'} again"
                self._best.restore(self._task.module)
            raise
        self._best.restore(self._task.module)
        return History(tuple(self._epochs), str(self._group.device), self._best.number, self._stopped)

    def _epoch(self, number: int, watch: EpochCallback | None) -> None:
        started = time.perf_counter()
        self._progress.begin(self._sums)
        self._learn(number)
        lost, right, seen, labelled = self._group.total(*self._sums.values())
        rate, trained_s = self._progress.rate(self._sums), time.perf_counter() - started
        waited_s = self._task.feed.waited_s
        try:
            with self._averaged(), self._measured_norms(number):
                validated = self._validated()
                self._require_numbers(number, validated["validation_loss"])
                epoch = Epoch(
                    loss=lost / seen,
                    train_accuracy=right / labelled if labelled else None,
                    learning_rate=self._stepper.rate,
                    images_per_second=rate,
                    waited_s=waited_s,
                    **validated,
                    seconds=time.perf_counter() - started,
                )
                self._best.offer(number, epoch, self._task.module)
                if watch is not None:
                    watch(number, epoch, self._task.module)
        except _StopRequested:
            self._save()
            raise self._interruption.error() from None
        self._epochs.append(epoch)
        self._batches_done, self._sums = 0, EpochSums.of(self._group.device)
        patience = self._task.settings.early_stopping
        if patience is not None and number - self._best.number >= patience and number < self._task.settings.epochs:
            name = "accuracy" if epoch.validation_score is None else self._task.metric.name
            self._stopped = f"no better validation {name} for {patience} epoch{'s' * (patience > 1)}"
        self._save()
        self._progress.epoch(number, epoch)
        self._progress.waited(number, waited_s, trained_s)

    def _learn(self, number: int) -> None:
        """The batches of one epoch that have not been learned from."""
        feed, objective = self._task.feed, self._task.objective
        length, accumulate = len(feed), self._task.settings.accumulate
        if self._batches_done == length:
            return
        if (begin := getattr(objective, "begin_epoch", None)) is not None:
            begin(number)
        self._stepper.training_mode(self._task.still)
        drawn: list[Batch] = []
        for index, batch in enumerate(feed.epoch(number)):
            if index < self._batches_done:
                continue
            self._random.set(number, index)
            parts = min(accumulate, length - index // accumulate * accumulate)
            drawn.append(batch)
            last = len(drawn) == parts
            loss, logits = self._stepper.part(objective, batch, parts=parts, last=last)
            right = None if batch.labels is None else self._task.training.correct(logits, batch.labels)
            self._sums.add(loss, len(logits), right)
            when = f"in step {self._stepper.taken + 1} (epoch {number})"
            self._divergence.note("loss", loss, [batch.indices], when)
            if last:
                norm = self._stepper.finish()
                if norm is not None:
                    self._divergence.note("gradient", norm, [part.indices for part in drawn], when)
                drawn = []
                self._batches_done = index + 1
                self._pause()
            self._progress.batch(number, index + 1, self._sums)

    def _pause(self) -> None:
        """Between two steps: stop where the loss is no number, or where somebody asked to."""
        at_end = self._batches_done == len(self._task.feed)
        if at_end:
            self._divergence.read()
        error = self._divergence.error
        bad, asked = error is not None, self._interruption.asked
        if self._group.world > 1:
            if self._stepper.taken % AGREE_EVERY and not at_end:
                return
            bad, asked = (bool(value) for value in self._group.total(bad, asked))
        if bad:
            raise error or StepError(
                CODE, "the training loss of another process is no longer a number", hint="see what that process said"
            )
        if asked:
            self._save()
            raise self._interruption.error()

    def _averaged(self) -> AbstractContextManager[None]:
        average = self._stepper.average
        return nullcontext() if average is None else average.applied()

    @contextmanager
    def _measured_norms(self, number: int) -> Iterator[None]:
        """Where `bn_images` asks for it, batch norm's statistics are measured for the weights as they are now: what is
        judged is kept. Training goes on with its own."""
        task = self._task
        wanted = task.images.validation is not None or number == task.settings.epochs
        if not task.settings.bn_images or not wanted:
            yield
            return
        before = norms.statistics(task.module)
        try:
            norms.reestimate(
                task.module,
                task.images.train,
                count=task.settings.bn_images,
                batch=task.settings.batch,
                seed=task.seed,
                keep=task.still,
            )
            yield
        finally:
            norms.restore(before)

    def _validated(self) -> dict[str, Any]:
        """The figures on the validation images, which the first process measures for all; asked to stop meanwhile, it
        stops all. Raises _StopRequested."""
        scored = "validation_accuracy" if self._task.metric == TOP_1 else "validation_score"
        figures: dict[str, Any] = {"validation_loss": None, "validation_accuracy": None}
        if self._task.images.validation is None:
            return figures
        scores, asked = (0.0, 0.0), False
        if self._validator is not None:
            try:
                scores = self._validator(self._task.module, between=self._raise_if_interrupted)
            except _StopRequested:
                asked = True
        loss, score, asked_first = self._group.of_first(*scores, asked)
        if asked_first:
            raise _StopRequested
        return {**figures, "validation_loss": loss, scored: score}

    def _require_numbers(self, number: int, loss: float | None) -> None:
        """Raise StepError where the last step, which no training loss follows, has ruined the network."""
        if loss is None:
            images = "training"
            (bad,) = self._group.of_first(float(self._group.is_first and not self._answers()))
        else:
            images, bad = "validation", not math.isfinite(loss)
        if bad:
            raise StepError(
                CODE,
                f"after epoch {number} the network's answers are no longer numbers",
                why=f"it answers {images} images with NaN or infinity",
                hint="lower the learning rate, for example to a tenth",
            )

    def _answers(self) -> bool:
        """Whether the network answers a few training images with numbers."""
        module, few = self._task.module.eval(), self._task.images.train.take(LOOKED_AT)
        with torch.no_grad():
            return all(
                bool(torch.isfinite(module(torch.from_numpy(batch).to(self._group.device))).all())
                for batch in few.batches(LOOKED_AT)
            )

    def _raise_if_interrupted(self) -> None:
        if self._interruption.asked:
            raise _StopRequested

    def _save(self) -> None:
        sums = self._group.total(*self._sums.values())
        if self._state is None:
            return
        state = {
            "stepper": self._stepper.state_dict(),
            "kept": self._best.state_dict(),
            "epochs": [asdict(epoch) for epoch in self._epochs],
            "stopped": self._stopped,
            "done": self._batches_done,
            "sums": tuple(sums),
        }
        self._state.save(state, self._best.weights, number=self._best.number)


class _StopRequested(Exception):
    """Somebody pressed Ctrl-C while the network was validated."""
