"""Training session: one training into one folder, with its weights, history, pictures and trackers."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn import __version__
from edgecnn.core.events import Finished, Listener, Started, scoped
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.images import ImageSet
from edgecnn.models import save
from edgecnn.models.building import BuiltNetwork
from edgecnn.report.evaluation.confusion import picture
from edgecnn.tasks.task import DEFAULT, Metric, find
from edgecnn.train import fit
from edgecnn.train.best_weights import rank
from edgecnn.train.settings import Epoch, TrainingImages
from edgecnn.train.trackers import Trackers
from edgecnn.workflows.optimize.planning import versions
from edgecnn.workflows.train.folder import BEST, HISTORY, LAST, RunFolder
from edgecnn.workflows.train.request import TrainRequest

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")
STEP = "train"
CONFUSION = "confusion.png"
JUDGED_AT_ONCE = 256


def training_images(training: ImageSet, validation: ImageSet) -> TrainingImages:
    return TrainingImages(training, validation if len(validation) else None)


class TrainingSession:
    """One training into one folder."""

    def __init__(
        self,
        request: TrainRequest,
        built: BuiltNetwork,
        about: Mapping[str, Any],
        *,
        folder: RunFolder,
        listener: Listener,
        trackers: Trackers,
        step: str = STEP,
    ) -> None:
        self._request, self._built, self._about = request, built, about
        self._folder, self._tell, self._trackers, self._step = folder, listener, trackers, step
        self._task = find(request.task)
        self._epochs = folder.noted() if folder.scratch.is_dir() else []

    def go(self, images: TrainingImages, *, run_of: Mapping[str, Any]) -> dict[str, Any]:
        """What train.json holds in the end."""
        began = time.monotonic()
        self._tell(Started(self._step))
        with self._tracked():
            history = fit(
                self._built.module,
                images,
                settings=self._request.settings,
                task=self._task,
                scratch=self._folder.scratch,
                listener=scoped(self._tell, self._step),
                seed=self._request.seed,
                watch=self._watch,
            )
            self._epochs = list(history.epochs)
            result = {
                **self._about,
                "history": history.to_dict(),
                "trackers": self._trackers.where,
                "versions": {"edgecnn": __version__, "python": platform.python_version(), **versions(PACKAGES)},
                "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            }
            if not self._folder.writes:
                return result
            self._save(BEST, self._built.module)
            self._folder.note(self._epochs, device=history.device, best=history.best, stopped=history.stopped)
            self._pictures(images)
            written = self._folder.finish(run_of, result, (BEST, LAST, HISTORY))
            for name in (BEST, HISTORY, "train.json"):
                self._trackers.artifact(self._folder.out / name)
        score = history.kept.score
        note = "" if score is None else f"validation {self._task.metric.text(score)} in epoch {history.best}"
        self._tell(Finished(self._step, time.monotonic() - began, note=note))
        return written

    def _watch(self, number: int, epoch: Epoch, module: nn.Module) -> None:
        """After every epoch, in the first process: the weights so far, the history so far, the trackers."""
        self._epochs = [*self._epochs[: number - 1], epoch]
        self._save(LAST, module)
        if _best(self._epochs, self._task.metric) == number:
            self._save(BEST, module)
        self._folder.note(self._epochs)
        self._trackers.epoch(number, epoch)

    def _save(self, name: str, module: nn.Module) -> None:
        path = self._folder.out / name
        names = self._about["class_names"]
        save(
            path,
            module,
            architecture=self._built.architecture,
            num_classes=len(names),
            preprocessing=Preprocessing.from_dict(self._about["preprocessing"]),
            class_names=names,
            plan=self._built.plan,
            history=(*self._built.history, STEP) if self._built.history else (),
        )

    def _pictures(self, images: TrainingImages) -> None:
        """The confusion matrix of the kept weights on the validation images."""
        if images.validation is None or images.validation.labels is None or self._task.name != DEFAULT:
            return
        path = self._folder.out / CONFUSION
        picture(
            _confusion(self._built.module, images, len(self._about["class_names"])), self._about["class_names"], path
        )
        self._trackers.picture("confusion", path)

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """Trackers learn how the run ended."""
        if not self._folder.writes:
            yield
            return
        status = "failed"
        try:
            self._trackers.begin(self._about)
            yield
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self._trackers.end(status)


def _best(epochs: list[Epoch], metric: Metric) -> int:
    """The number of the epoch whose weights are kept, as `train.best_weights` chooses it: the latest of the best; the
    last without validation."""
    if epochs[-1].score is None:
        return len(epochs)
    return max(range(1, len(epochs) + 1), key=lambda number: (*rank(epochs[number - 1], metric), number))


def _confusion(module: nn.Module, images: TrainingImages, classes: int) -> np.ndarray:
    """Validation images by true and given class, int64 (classes, classes)."""
    import torch

    assert images.validation is not None and images.validation.labels is not None
    device = next(module.parameters()).device
    with torch.inference_mode():
        answers = [
            module(torch.from_numpy(x).to(device)).argmax(1).cpu().numpy()
            for x in images.validation.batches(JUDGED_AT_ONCE)
        ]
    counted = np.zeros((classes, classes), np.int64)
    np.add.at(counted, (np.asarray(images.validation.labels), np.concatenate(answers)), 1)
    return counted
