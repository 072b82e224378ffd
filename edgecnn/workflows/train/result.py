"""Training result: for a person and for a script."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.core.result import Result
from edgecnn.core.units import duration
from edgecnn.tasks.task import DEFAULT, TOP_1, Task, find
from edgecnn.train.settings import History
from edgecnn.workflows.train.folder import BEST, HISTORY, LAST, RESULT


@dataclass(frozen=True, slots=True)
class Fold:
    """One run of a cross-validation: on which images it learned and was judged, and how it went."""

    number: int
    out: Path
    training_images: int
    validation_images: int
    history: History
    cached: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "out": str(self.out),
            "history": self.history.to_dict(),
            "accuracy": self.history.validation_accuracy,
        }


@dataclass(frozen=True, slots=True)
class Trained(Result):
    """A finished training. `seconds` is the time its epochs took, `cached` that nothing had to be done; `where` has a
    line for each tracker. With `folds` there is a history for each of them, none of the whole, and no next command.
    Of the processes that torchrun starts one `is_first`: it tells of the result."""

    out: Path
    about: Mapping[str, Any]
    history: History | None
    cached: bool
    next_command: str
    where: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[Fold, ...] = ()
    is_first: bool = True

    @property
    def accuracy(self) -> float | None:
        """`score`, where it is an accuracy: of a classifier."""
        return self.score if self._task.name == DEFAULT else None

    @property
    def score(self) -> float | None:
        """The task's metric of the kept weights on the validation images; of a cross-validation the mean over its
        folds."""
        if self.history is not None:
            return self.history.kept.score
        scores = self._fold_scores()
        return statistics.fmean(scores) if scores else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the score over the folds (of a sample: n - 1)."""
        scores = self._fold_scores()
        return statistics.stdev(scores) if len(scores) > 1 else None

    def _fold_scores(self) -> list[float]:
        return [score for fold in self.folds if (score := fold.history.kept.score) is not None]

    @property
    def _task(self) -> Task:
        return find(self.about.get("task", DEFAULT))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "out": str(self.out),
            "accuracy": self.accuracy,
            "standard_deviation": self.deviation,
            "cached": self.cached,
            "next_command": self.next_command,
            "files": {} if self.folds else {name: str(self.out / name) for name in (BEST, LAST, HISTORY, RESULT)},
            "trackers": dict(self.where),
            "history": self.history.to_dict() if self.history else None,
            "folds": [fold.to_dict() for fold in self.folds],
            **({} if self._task.name == DEFAULT else {"score": self.score, "metric": self._task.metric.name}),
            **self.about,
        }

    def page(self) -> str:
        """Plain lines for a person."""
        return "\n".join(self._of_folds() if self.folds else self._of_one())

    def _of_one(self) -> list[str]:
        assert self.history is not None
        history = self.history
        best = history.best or len(history.epochs)
        kept = history.kept
        judged = f"{self._text(kept.score)} {self.about['data']['images']['validation']} validation images"
        early = f" ({history.stopped})" if history.stopped else ""
        speed = statistics.median(epoch.images_per_second for epoch in history.epochs)
        lines = [
            f"{self._network()}: {judged}",
            f"epoch {best} of {len(history.epochs)} was kept{early}: loss {kept.loss:.3f}"
            + (f", training {TOP_1.text(kept.train_accuracy)}" if self._task.name == DEFAULT else ""),
            f"{duration(_seconds(history))} on {history.device}, {speed:.0f} images/s"
            + (", found finished" if self.cached else ""),
            "",
            f"best weights   {self.out / BEST}",
            f"last weights   {self.out / LAST}",
            f"every epoch    {self.out / HISTORY}, with settings and versions in {RESULT}",
        ]
        return [*lines, *self._closing()]

    def _of_folds(self) -> list[str]:
        metric, spread = self._task.metric, ""
        if self.deviation is not None:
            deviation = f"{self.deviation * 100:.2f} points" if metric.share else metric.text(self.deviation)
            spread = f", standard deviation {deviation}"
        scored = "accuracy" if self._task.name == DEFAULT else metric.name
        rows = [("fold", "train", "judge", scored, "kept epoch", "time", "weights")]
        for fold in self.folds:
            count = len(fold.history.epochs)
            rows.append(
                (
                    str(fold.number),
                    str(fold.training_images),
                    str(fold.validation_images),
                    metric.text(fold.history.kept.score),
                    f"{fold.history.best or count} of {count}",
                    duration(_seconds(fold.history)) + (" (cached)" if fold.cached else ""),
                    str(fold.out / BEST),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        mean = f"{self._network()}: {metric.text(self.score)} on average over {len(self.folds)} folds{spread}"
        last = "next: the same command without --folds trains one network on all of these images"
        return [mean, "", *table, "", last]

    def _text(self, score: float | None) -> str:
        """The score of the validation images, up to their number."""
        metric = self._task.metric
        return f"{metric.text(score)} of" if metric.share else f"{metric.name} {metric.text(score)} on"

    def _network(self) -> str:
        task, outputs = self._task.name, len(self.about["class_names"])
        return f"{self.about['architecture']} {f'on {outputs} classes' if task == DEFAULT else f'for {task}'}"

    def _closing(self) -> list[str]:
        trackers = [f"{name:<15}{line}" for name, line in self.where.items()]
        return [*trackers, "", f"next: {self.next_command}"]


def optimize_command(out: Path, data: Path, *, model: str | None, seed: int, task: str = DEFAULT) -> str:
    """What is typed next: `edgecnn optimize` of the best weights, with `--model` where code builds the network."""
    words = ["edgecnn", "optimize", str(out / BEST), "--data", str(data)]
    words += ["--model", model] if model is not None else []
    words += ["--task", task] if task != DEFAULT else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join(words)


def _seconds(history: History) -> float:
    return sum(epoch.seconds for epoch in history.epochs)
