"""A task that is not ours: how bright an image is, one number in [0, 1], judged by its mean absolute error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.outcome import Outcome
from edgecnn.data.listing import Listing
from edgecnn.tasks.differences import Differences
from edgecnn.tasks.task import Answers, Drop, Judgement, Metric, Quality

SIDE = 16
Z = 1.645


@dataclass(frozen=True)
class Numbers:
    """Labels that are numbers."""

    indices: dict[str, float]
    names: tuple[str, ...] = ("brightness",)
    source: str = "numbers"


@dataclass(frozen=True)
class Errors:
    """Satisfies `edgecnn.tasks.task.Scores`."""

    absolute: np.ndarray
    mistakes: tuple[()] = ()

    @property
    def images(self) -> int:
        return len(self.absolute)

    @property
    def figures(self) -> list[tuple[str, str, str]]:
        return [("mean absolute error", f"{self.absolute.mean():.4f}", f"at most {self.absolute.max():.4f}")]

    def to_dict(self) -> dict[str, Any]:
        return {"images": self.images, "mean_absolute_error": float(self.absolute.mean())}


class Sums:
    """Satisfies `edgecnn.train.task_training.Meter`: the loss is the metric."""

    def __init__(self) -> None:
        self.error, self.images = 0.0, 0

    def add(self, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        self.error += float((outputs[:, 0] - labels).abs().sum())
        self.images += len(outputs)

    def figures(self) -> tuple[float, float]:
        return self.error / self.images, self.error / self.images


class Training:
    """Satisfies `edgecnn.train.task_training.TaskTraining`."""

    def output_names(self, data: Path) -> tuple[str, ...]:
        return ("brightness",)

    def require_fit(self, shape: tuple[int, ...], labels: Sequence[float]) -> None:
        if shape[1:] != (1,):
            raise InputError("bad-outputs", f"the network gives {shape[1:]} numbers for an image, not one")

    def loss(self, settings: Any, labels: Sequence[float], *, width: int) -> Any:
        return lambda outputs, levels: (outputs[:, 0] - levels).abs().mean()

    def correct(self, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        return None

    def meter(self, device: torch.device) -> Sums:
        return Sums()


TRAINING = Training()


class Brightness:
    name = "brightness"
    metric = Metric("mean absolute error", unit="levels", drop_limit=4.0, lower_is_better=True)
    training = "brightness:TRAINING"
    decoder = Path(__file__).with_name("brightness_decode.py")

    def read_labels(
        self, listing: Listing, num_classes: int, *, path: Path | None = None, class_names: Sequence[str] | None = None
    ) -> Numbers:
        try:
            return Numbers({text: float(text) for text in listing.labels})
        except ValueError as error:
            raise InputError("not-a-number", "the labels are no numbers", why=str(error)) from error

    def validate(self, outputs: np.ndarray, *, width: int, runtime: str) -> None:
        if outputs.shape[1:] != (1,):
            raise StepError("bad-answer", f"{runtime} answered with more than one number")

    def agreement(self, reference: np.ndarray, candidate: np.ndarray) -> float:
        return float((np.abs(reference - candidate) < 0.05).mean())

    def merge(self, outputs: np.ndarray, views: int) -> np.ndarray:
        mean: np.ndarray = outputs.reshape(-1, views, 1).mean(1)
        return mean

    def notes(self, outputs: np.ndarray) -> tuple[str, ...]:
        return ()

    def score(self, answers: Answers, names: Sequence[str]) -> Errors:
        return Errors(self._errors(answers))

    def quality(self, answers: Answers) -> Quality:
        return Quality(float(self._errors(answers).mean()))

    def compare(self, baseline: Answers, candidate: Answers, *, max_drop: float, confidence: float = 0.95) -> Judgement:
        """`max_drop` is the largest growth of the error that passes, in units of brightness."""
        before = baseline.on(candidate.images)
        agreement = self.agreement(before.outputs, candidate.outputs)
        if candidate.labels is None:
            return Judgement("INCONCLUSIVE", "no labels", len(candidate), agreement=agreement)
        growth = self._errors(candidate) - self._errors(before)
        half = Z * float(growth.std(ddof=1)) / np.sqrt(len(growth))
        drop = Drop(float(growth.mean()), float(growth.mean()) - half, float(growth.mean()) + half)
        outcome: Outcome = "PASS" if drop.high <= max_drop else "FAIL" if drop.low > max_drop else "INCONCLUSIVE"
        why = f"the error grows by at most {drop.high:.4f}; the budget is {max_drop:g}"
        return Judgement(outcome, why, len(candidate), drop, agreement)

    def would_pass(self, judgement: Judgement, *, images: int, max_drop: float) -> bool:
        return judgement.largest_loss <= max_drop

    def fewest_images(self, max_drop: float, *, confidence: float) -> int | None:
        return 2

    def amount(self, loss: float) -> str:
        return f"{loss:.4f}"

    def budget(self, max_drop: float) -> str:
        return f"{max_drop:g}"

    def differences(
        self, baseline: Answers, candidate: Answers, names: Sequence[str], *, max_class_drop: float, confidence: float
    ) -> Differences:
        before, after = (f"{self._errors(answers).mean():.4f}" for answers in (baseline, candidate))
        return Differences((("mean absolute error", before, after, "", ""),))

    def pack(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        return {"outputs": outputs}

    def unpack(self, arrays: Mapping[str, np.ndarray], *, width: int) -> np.ndarray:
        return arrays["outputs"]

    def suspicions(self, baseline: Answers, candidate: Answers | None = None) -> tuple[str, ...]:
        return ()

    def _errors(self, answers: Answers) -> np.ndarray:
        errors: np.ndarray = np.abs(answers.outputs[:, 0] - np.asarray(answers.labels, np.float32))
        return errors


TASK = Brightness()


def network() -> nn.Module:
    """Of a plain grey image with level L, filter k makes L * relu(sum of its weights): the last layer gives L again."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1)
    )
    module[0].weight.data += 0.05
    sums = module[0].weight.data.sum((1, 2, 3)).relu()
    module[4].weight.data += sums
    module[4].weight.data /= (module[4].weight.data @ sums).item()
    module[4].bias.data.zero_()
    return module


def write_images(folder: Path, *, seed: int = 0) -> Path:
    """A table of 40 images to calibrate on and 80 to judge on, each of another brightness and a little noisy."""
    rng = np.random.default_rng(seed)
    lines = ["path,label,split"]
    folder.mkdir(parents=True)
    for number in range(120):
        level = float(rng.uniform(0.1, 0.9))
        pixels = np.clip(rng.normal(level, 0.05, (SIDE, SIDE, 3)), 0, 1)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{level:.4f},{'train' if number < 40 else 'val'}")
    table = folder / "images.csv"
    table.write_text("\n".join(lines) + "\n")
    return table
