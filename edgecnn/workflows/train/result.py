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
        """Of the kept weights on the validation images; of a cross-validation the mean over its folds."""
        if self.history is not None:
            return self.history.validation_accuracy
        found = [fold.history.validation_accuracy for fold in self.folds]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracy over the folds (of a sample: n - 1)."""
        found = [fold.history.validation_accuracy for fold in self.folds]
        known = [value for value in found if value is not None]
        return statistics.stdev(known) if len(known) > 1 else None

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
            "history": asdict(self.history) if self.history else None,
            "folds": [
                {**asdict(fold), "out": str(fold.out), "accuracy": fold.history.validation_accuracy}
                for fold in self.folds
            ],
            **self.about,
        }

    def page(self) -> str:
        """Plain lines for a person."""
        return "\n".join(self._of_folds() if self.folds else self._of_one())

    def _of_one(self) -> list[str]:
        assert self.history is not None
        history = self.history
        best = history.best or len(history.epochs)
        kept = history.epochs[best - 1]
        judged = f"{_share(kept.validation_accuracy)} of {self.about['data']['images']['validation']} validation images"
        early = f" ({history.stopped})" if history.stopped else ""
        speed = statistics.median(epoch.images_per_second for epoch in history.epochs)
        lines = [
            f"{self._network()}: {judged}",
            f"epoch {best} of {len(history.epochs)} was kept{early}: loss {kept.loss:.3f}, "
            f"training {_share(kept.train_accuracy)}",
            f"{duration(_seconds(history))} on {history.device}, {speed:.0f} images/s"
            + (", found finished" if self.cached else ""),
            "",
            f"best weights   {self.out / BEST}",
            f"last weights   {self.out / LAST}",
            f"every epoch    {self.out / HISTORY}, with settings and versions in {RESULT}",
        ]
        return [*lines, *self._closing()]

    def _of_folds(self) -> list[str]:
        spread = "" if self.deviation is None else f", standard deviation {self.deviation * 100:.2f} points"
        rows = [("fold", "train", "judge", "accuracy", "kept epoch", "time", "weights")]
        for fold in self.folds:
            count = len(fold.history.epochs)
            rows.append(
                (
                    str(fold.number),
                    str(fold.training_images),
                    str(fold.validation_images),
                    _share(fold.history.validation_accuracy),
                    f"{fold.history.best or count} of {count}",
                    duration(_seconds(fold.history)) + (" (cached)" if fold.cached else ""),
                    str(fold.out / BEST),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        mean = f"{self._network()}: {_share(self.accuracy)} on average over {len(self.folds)} folds{spread}"
        last = "next: the same command without --folds trains one network on all of these images"
        return [mean, "", *table, "", last]

    def _network(self) -> str:
        return f"{self.about['architecture']} on {len(self.about['class_names'])} classes"

    def _closing(self) -> list[str]:
        trackers = [f"{name:<15}{line}" for name, line in self.where.items()]
        return [*trackers, "", f"next: {self.next_command}"]


def optimize_command(out: Path, data: Path, *, model: str | None, seed: int) -> str:
    """What is typed next: `edgecnn optimize` of the best weights, with `--model` where code builds the network."""
    words = ["edgecnn", "optimize", str(out / BEST), "--data", str(data)]
    words += ["--model", model] if model is not None else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join(words)


def _seconds(history: History) -> float:
    return sum(epoch.seconds for epoch in history.epochs)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2%}"
