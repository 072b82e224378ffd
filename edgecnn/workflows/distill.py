"""Distillation alone: a student learns from a teacher, and is compared with its teacher and with what it was before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.compress.distill.stage import Distill
from edgecnn.core.artifact import Artifact
from edgecnn.core.events import Listener, ignore
from edgecnn.core.stage import Images
from edgecnn.data.preprocessing import Source
from edgecnn.probe.facts import usable_cores
from edgecnn.tasks.classification.verdict import judge, points
from edgecnn.workflows.optimize.planning import RunContext
from edgecnn.workflows.single_stage import (
    CHECKPOINT_SUFFIX,
    StageRun,
    file_facts,
    file_line,
    run,
    stage_from,
    validate_out,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True, slots=True)
class Comparison:
    """The student compared with another network on the same images: the drop of top-1 and its bounds, each one-sided at
    95 % (Tango's score interval), all in [-1, 1]."""

    drop: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DistillResult:
    """A student's file and what it is worth. Accuracies are top-1 in [0, 1], None without labelled images to judge on;
    `before` is None for a student that was built anew."""

    artifact: Artifact
    method: str
    student: str
    teacher: str
    images: int
    before: float | None
    after: float | None
    teacher_accuracy: float | None
    against_before: Comparison | None
    against_teacher: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["artifact"]
        return {**file_facts(self.artifact), **fields}

    def page(self) -> str:
        """Plain lines for a person."""
        lines = [
            file_line(self.artifact),
            f"{self.student} learned from {self.teacher} by {self.method}",
        ]
        if self.after is None:
            return "\n".join([*lines, "not judged: there are no labelled images beside those it learned from (val/)"])
        lines.append(f"top-1 on {self.images} images: {points(self.after)}")
        for name, accuracy, against in (
            ("before", self.before, self.against_before),
            ("teacher", self.teacher_accuracy, self.against_teacher),
        ):
            if accuracy is not None and against is not None:
                lines.append(f"{name}: {points(accuracy)}; the student is {_gain(against)}")
        return "\n".join(lines)


def _gain(against: Comparison) -> str:
    """The drop turned round: what a person asks is what was won."""
    low, high = (f"{-100 * bound:+.2f}" for bound in (against.high, against.low))
    return f"{-100 * against.drop:+.2f} points from it ({low} to {high}, 95 % each side)"


def distill(source: Source, options: Mapping[str, Any], *, out: Path, listener: Listener) -> DistillResult:
    """Train the checkpoint of `source` on a teacher's answers, or, where `options` name a `student`, that one on the
    checkpoint's; write the student to `out`.

    `options` are those of the stage `distill`. A killed run continues when it is called again. Raises InputError,
    MissingError or StepError.
    """
    stage: Distill = stage_from(Distill, options)
    out = out if out.suffix else out.with_suffix(CHECKPOINT_SUFFIX)
    validate_out(out, CHECKPOINT_SUFFIX)
    with run((stage,), source, out, listener=listener) as distilled:
        accuracies = _judged(stage, distilled)
    return DistillResult(distilled.artifact.at(out), **accuracies)


def _judged(stage: Distill, distilled: StageRun) -> dict[str, Any]:
    """The fields of the result that judging gives: the student, what it was before, and its teacher, on one device."""
    from edgecnn.compress.distill.kernel import device_of, seeing, teacher_of

    context = distilled.context
    original, student = context.model, distilled.execution.models[distilled.artifact.kind]
    teacher = teacher_of(stage, context.model, context.data.preprocessing, listener=ignore)
    about: dict[str, Any] = dict.fromkeys(("before", "after", "teacher_accuracy", "against_before", "against_teacher"))
    about.update(method=stage.method, student=student.name, teacher=teacher.name, images=0)
    images = context.data.evaluation
    if images is None or images.labels is None:
        return about
    bench = _Bench(images, images.labels, device_of(stage.training), context)
    now = bench.answers(student.module())
    about.update(images=len(images), after=bench.accuracy(now))
    theirs = bench.answers(seeing(teacher, context.data.preprocessing))
    about.update(teacher_accuracy=bench.accuracy(theirs), against_teacher=bench.held(theirs, now))
    if stage.student is None:
        before = bench.answers(original.module())
        about.update(before=bench.accuracy(before), against_before=bench.held(before, now))
    return about


@dataclass(frozen=True, slots=True)
class _Bench:
    """Images to judge on, and where."""

    images: Images
    labels: Sequence[int]
    device: str
    context: RunContext

    def answers(self, module: nn.Module) -> np.ndarray:
        """The top-1 class of each image."""
        from edgecnn.predict.torch import forward

        found = forward(
            module,
            self.images,
            shape=self.context.data.preprocessing.crop,
            device=self.device,
            threads=usable_cores(),
            listener=self.context.listener,
        )
        classes: np.ndarray = found.argmax(1)
        return classes

    def accuracy(self, answers: np.ndarray) -> float:
        return float((answers == self.labels).mean())

    def held(self, other: np.ndarray, student: np.ndarray) -> Comparison:
        drop = judge(other, student, self.labels, max_drop=0.0).drop
        assert drop is not None and drop.value is not None
        return Comparison(drop.value, drop.low, drop.high)
