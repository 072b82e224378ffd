"""Distillation alone: a student learns from a teacher, and is held against what it was before and against it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgecnn.compress.distill.stage import Distill
from edgecnn.config.recipe import Calibration, Recipe
from edgecnn.config.yaml_file import bad_option
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener, ignore
from edgecnn.core.stage import Images, Model
from edgecnn.core.store import Store
from edgecnn.data.preprocessing import Source
from edgecnn.probe.facts import usable_cores
from edgecnn.tasks.classification.verdict import judge, points
from edgecnn.workflows.inputs import open_inputs
from edgecnn.workflows.optimize.execution import execute
from edgecnn.workflows.optimize.output import copy_into_place
from edgecnn.workflows.optimize.planning import HERE, RunContext, steps

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Against:
    """The student held against another network on the same images: the drop of top-1 and its bounds, each one-sided at
    95 % (Tango's score interval), all in [-1, 1]."""

    drop: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Taught:
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
    against_before: Against | None
    against_teacher: Against | None

    def to_dict(self) -> dict[str, Any]:
        found = asdict(self)
        del found["artifact"]
        file = {"path": str(self.artifact.path), "size_bytes": self.artifact.size_bytes}
        return {**self.artifact.to_dict(), **file, **found}

    def page(self) -> str:
        """Plain lines for a person."""
        lines = [
            f"{self.artifact.path}  {self.artifact.kind}  {self.artifact.size_bytes / 1e6:.2f} MB",
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


def _gain(against: Against) -> str:
    """The drop turned round: what a person asks is what was won."""
    low, high = (f"{-100 * bound:+.2f}" for bound in (against.high, against.low))
    return f"{-100 * against.drop:+.2f} points from it ({low} to {high}, 95 % each side)"


def distill(source: Source, options: Mapping[str, Any], *, out: Path, listener: Listener) -> Taught:
    """Train the checkpoint of `source` on a teacher's answers, or, where `options` name a `student`, that one on the
    checkpoint's; write the student to `out`.

    `options` are those of the stage `distill`. A killed run is gone on with when it is asked for again. Raises
    InputError, MissingError or StepError.
    """
    stage = _stage(options)
    out = out if out.suffix else out.with_suffix(SUFFIX)
    if out.suffix != SUFFIX:
        raise InputError(
            "wrong-suffix", f"--out {out} does not end in {SUFFIX}", hint=f"--out {out.with_suffix(SUFFIX)}"
        )
    recipe = Recipe(name="distill", stages=(stage,), calibration=Calibration(images=1))
    inputs = open_inputs(source, recipe, listener=listener, judges=False)
    store = Store(out.parent / f".{out.stem}.distill")
    store.prepare()
    context = RunContext(inputs.model, inputs.data, HERE, store, listener, source.seed)
    try:
        execution = execute(
            "onnx",
            steps(Recipe(name="distill", stages=(stage,)), "onnx", context),
            source=Artifact(source.checkpoint, "torch", "fp32", (), (), inputs.model.sha256),
            context=context,
        )
    except InputError as refused:
        if stage.student_weights is not None:
            refused.hint = refused.hint.replace("--model", "--student")  # --model names the teacher's network here
        raise
    for error in execution.failed.values():
        raise error
    if not execution.networks:
        raise StepError("nothing-made", "no student came of it", hint="--verbose shows the steps")
    kind, artifact = next(iter(execution.networks.items()))
    taught = _judged(stage, artifact, (inputs.model, execution.models[kind]), context)
    copy_into_place(artifact.path, out)
    shutil.rmtree(store.root, ignore_errors=True)
    return Taught(artifact.at(out), **taught)


def _stage(options: Mapping[str, Any]) -> Distill:
    try:
        return Distill(**options)
    except ValidationError as error:
        raise bad_option(error, command="distill") from error


def _judged(stage: Distill, artifact: Artifact, models: tuple[Model, Model], context: RunContext) -> dict[str, Any]:
    """The fields of `Taught` that judging gives: the student, what it was before, and its teacher, on one device."""
    from edgecnn.compress.distill.kernel import device_of, seeing, teacher_of

    given, student = models
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
        before = bench.answers(given.module())
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

    def held(self, other: np.ndarray, student: np.ndarray) -> Against:
        found = judge(other, student, self.labels, max_drop=0.0)
        assert found.drop is not None and found.drop.value is not None
        return Against(found.drop.value, found.drop.low, found.drop.high)
