"""Distillation alone: a student learns from a teacher, and is compared with its teacher and with what it was before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.compress.distill.stage import Distill
from edgecnn.core.artifact import Artifact
from edgecnn.core.events import Listener, ignore
from edgecnn.core.result import Result
from edgecnn.core.stage import Images
from edgecnn.data.preprocessing import Source
from edgecnn.probe.facts import usable_cores
from edgecnn.tasks.classification.verdict import points
from edgecnn.tasks.task import Answers
from edgecnn.workflows.arguments import PathLike, path_or_none, source_of, stated, usage_error
from edgecnn.workflows.optimize.planning import RunContext
from edgecnn.workflows.single_stage import StageRun, checkpoint_out, file_facts, file_line, run, stage_from
from edgecnn.workflows.train.request import settings_of

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments


@dataclass(frozen=True, slots=True)
class Comparison:
    """The student compared with another network on the same images: the drop of the task's metric (a share of top-1)
    and its bounds, each one-sided at 95 %."""

    drop: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DistillResult(Result):
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


def distill(
    checkpoint: PathLike,
    *,
    data: PathLike,
    out: PathLike | None = None,
    teacher: PathLike | None = None,
    teacher_model: str | None = None,
    student: str | None = None,
    student_weights: PathLike | None = None,
    method: str = "dist",
    temperature: float | None = None,
    label_weight: float | None = None,
    config: PathLike | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    crop_padding: int | None = None,
    flip: bool | None = None,
    random_resized_crop: float | None = None,
    mixup: float | None = None,
    device: str | None = None,
    workers: int | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    seed: int = 0,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> DistillResult:
    """Train `checkpoint` on the answers of `teacher`, or a new `student` on the checkpoint's; write the student to
    `out` (None: beside the checkpoint) and judge it beside what it was before and beside its teacher.

    Training settings come from the YAML file `config`, and arguments go before it. A killed run goes on where it was.
    Raises InputError, MissingError or StepError.
    """
    if (teacher is None) == (student is None):
        raise usage_error("CKPT learns from --teacher FILE, or teaches --student NAME: give one of the two", "distill")
    source = source_of(
        checkpoint, model=model, weights=weights, data=data, class_map=class_map, seed=seed, preprocessing=preprocessing
    )
    training = settings_of(
        path_or_none(config),
        stated(
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            crop_padding=crop_padding,
            flip=flip,
            random_resized_crop=random_resized_crop,
            mixup=mixup,
            device=device,
            workers=workers,
        ),
    )
    options = stated(
        method=method,
        temperature=temperature,
        label_weight=label_weight,
        teacher=None if teacher is None else str(teacher),
        teacher_model=teacher_model,
        student=student,
        student_weights=None if student_weights is None else str(student_weights),
        training=training,
    )
    return _distill(source, options, out=path_or_none(out), listener=listener)


def _distill(source: Source, options: Mapping[str, Any], *, out: Path | None, listener: Listener) -> DistillResult:
    """Train the checkpoint of `source` on a teacher's answers, or, where `options` name a `student`, that one on the
    checkpoint's; write the student to `out`.

    `options` are those of the stage `distill`. A killed run continues when it is called again. Raises InputError,
    MissingError or StepError.
    """
    stage: Distill = stage_from(Distill, options)
    out = checkpoint_out(out, source, "distilled")
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
    bench = _Bench(images, device_of(stage.training), context)
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
    device: str
    context: RunContext

    def answers(self, module: nn.Module) -> Answers:
        from edgecnn.predict.torch import forward

        outputs = forward(
            module,
            self.images,
            shape=self.context.data.preprocessing.crop,
            device=self.device,
            threads=usable_cores(),
            listener=self.context.listener,
        )
        return Answers(outputs, self.images)

    def accuracy(self, answers: Answers) -> float:
        return self.context.task.quality(answers).value

    def held(self, other: Answers, student: Answers) -> Comparison:
        drop = self.context.task.compare(other, student, max_drop=0.0).drop
        assert drop is not None and drop.value is not None
        return Comparison(drop.value, drop.low, drop.high)
