"""Training loop: fine-tuning, distillation and quantization-aware training all call `fit`."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned, ignore
from edgecnn.core.stage import LabelledImages
from edgecnn.tasks.task import DEFAULT, Task, find
from edgecnn.train import heap, interruption, optimizer, parallel, randomness
from edgecnn.train.feed import open_feed
from edgecnn.train.losses import Labels
from edgecnn.train.session import EpochCallback, RunInputs, TrainingRun
from edgecnn.train.settings import History, Objective, TrainingImages, TrainSettings
from edgecnn.train.state import RunState, identity
from edgecnn.train.task_training import TaskTraining, training_of, validate_settings
from edgecnn.train.validation import measure, measure_accuracy, require_labels

__all__ = ["fit", "measure", "measure_accuracy"]


def fit(
    module: nn.Module,
    images: TrainingImages | LabelledImages,
    *,
    settings: TrainSettings,
    objective: Objective | None = None,
    task: Task | None = None,
    scratch: Path | None = None,
    listener: Listener = ignore,
    seed: int = 0,
    watch: EpochCallback | None = None,
) -> History:
    """Train `module` in place; it is left in eval mode, where it was, with the kept weights.

    Kept is the epoch that is best on the validation images, the last one without them; of the moving average where
    `settings.ema` asks for one. `task` is what the network is for, classification unless given; `objective` is what is
    made small, by default the task's loss of the labels as `settings` say. The same seed on the same machine gives the
    same weights; torch's global random state is as before afterwards.

    With `scratch` the state is written there after every epoch: a killed run that is started again with the same
    arguments ends with the weights, bit for bit, of one that was not. Ctrl-C once ends the step, saves and raises
    KeyboardInterrupt; twice, at once. Under torchrun each process trains on its part of each batch (see `parallel`).

    Tells a Progress of unit epoch for every epoch and finer ones within, and warns when it waits for images. `watch`
    gets each epoch's number, figures and the module with the weights they are of, in the first process only.

    Raises InputError for images without labels, labels outside the outputs, or a state of another run; StepError when
    loss or gradient are no longer numbers (the module then has the last good weights) or when the disk refuses.
    """
    images = images if isinstance(images, TrainingImages) else TrainingImages(images)
    task = task or find(DEFAULT)
    training = training_of(task)
    validate_settings(task, settings)
    _require(images, settings, objective)
    home = _home(module)
    with ExitStack() as cleanup:
        cleanup.enter_context(heap.kept())
        group = cleanup.enter_context(parallel.joined(settings.device))
        cleanup.enter_context(randomness.restored(group.device))
        cleanup.callback(lambda: module.eval().to(home).to(memory_format=torch.contiguous_format))
        still = cleanup.enter_context(optimizer.frozen(module, settings.freeze))
        module.to(group.device).to(memory_format=torch.channels_last)
        width = _outputs(module, images, training, group.device)
        goal = objective
        if goal is None:
            goal = Labels(training.loss(settings, require_labels(images.train), width=width))
        goal.to(str(group.device))
        feed = open_feed(
            images.train, settings, device=group.device, seed=seed, rank=group.rank, world=group.world, classes=width
        )
        cleanup.callback(feed.close)
        run = TrainingRun(RunInputs(module, images, settings, goal, feed, seed, still, training, task.metric), group)
        if scratch is not None:
            # The kind of objective; one that depends on more than its settings says so by a `digest`.
            kind = f"{type(goal).__qualname__} {getattr(goal, 'digest', '')}".rstrip()
            about = {"seed": seed, "objective": kind, "processes": group.world, "arithmetic": run.arithmetic}
            if task.name != DEFAULT:
                about["task"] = task.name
            run.resume(
                RunState(scratch, identity(module, settings, images=images, **about)) if group.is_first else None
            )
        with interruption.noticed() as asked:
            history = run.go(asked, listener=listener if group.is_first else ignore, watch=watch)
        if group.is_first:
            _warn_at_chance(history, images.validation, settings, listener)
        group.share_weights(module)
    return history


def _require(images: TrainingImages, settings: TrainSettings, objective: Objective | None) -> None:
    if not len(images.train):
        raise InputError("no-images", "there are no images to train on")
    if objective is None or objective.needs_labels:
        require_labels(images.train)
    if images.validation is not None:
        require_labels(images.validation)
    elif settings.early_stopping is not None:
        raise InputError(
            "no-validation",
            "early stopping needs validation images",
            why="without them no epoch is better than another",
            hint="give images to judge on, or leave early_stopping out",
        )


def _warn_at_chance(
    history: History, validation: LabelledImages | None, settings: TrainSettings, listener: Listener
) -> None:
    """Where the best weights answer no better than one class for every image, say so, and what often is the cause."""
    accuracy = history.validation_accuracy
    if validation is None or accuracy is None:
        return
    (_, most), *_ = Counter(require_labels(validation)).most_common(1)
    if round(accuracy * len(validation)) > most or most == len(validation):
        return
    listener(
        Warned(
            "at-chance",
            f"the network is no better than chance: {accuracy:.1%} of {len(validation)} validation images",
            hint="try another learning rate (--lr), or more epochs"
            if settings.bn_images
            else "--set bn_images=512 measures batch norm's statistics before judging (small batches lag behind); "
            "or try another learning rate (--lr), or more epochs",
        )
    )


def _home(module: nn.Module) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    raise InputError("nothing-to-train", "this network has no weights")


def _outputs(module: nn.Module, images: TrainingImages, training: TaskTraining, device: torch.device) -> int:
    """How many outputs the network has. Raises InputError where they do not fit the labels."""
    prepared = images.train.preprocessing
    module.eval()
    with torch.no_grad():
        outputs = module(torch.zeros(1, prepared.channels, *prepared.crop, device=device))
    if not isinstance(outputs, torch.Tensor) or outputs.ndim < 2:
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError("bad-outputs", f"the network gives {shape} for a batch, not one row for each image")
    for labels in (images.train.labels, images.validation.labels if images.validation else None):
        training.require_fit(tuple(outputs.shape), labels or ())
    return int(outputs.shape[1])
