"""Kernel of the stage `distill`: find teacher and student, train, and write the student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgecnn.compress.distill.cache import require_numbers, teacher_logits
from edgecnn.compress.distill.stage import ORIGINAL, Distill
from edgecnn.compress.network import training_images, write_checkpoint
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context, LabelledImages, Model
from edgecnn.models import open_model
from edgecnn.models.pruned import PruningPlan
from edgecnn.tasks.task import require_classes
from edgecnn.train.distillation_loss import (
    WARMUP_SHARE,
    CachedLogits,
    Distilled,
    LiveTeacher,
    classes_differ,
)
from edgecnn.train.loop import fit
from edgecnn.train.losses import label_loss
from edgecnn.train.settings import TrainSettings

ASKED_FIRST = 8
"""Images that a teacher answers before anything is learned from it."""


@dataclass(frozen=True, slots=True)
class Student:
    """What is trained, and how a checkpoint of it is named. `changed` is the model whose channels it shares,
    `plan` that of a pruned network."""

    module: nn.Module
    architecture: str
    classes: int
    changed: Model | None
    plan: PruningPlan | None


def distill(source: Artifact, context: Context, *, options: Distill) -> Artifact:
    """Train the student and write it to `context.workdir/model.safetensors`.

    Raises InputError `no-training-images`, `classes-differ`, and what opening the files that the options name raises.
    """
    require_classes(context.task, Distill.kind)
    images = training_images(context, why="distillation trains, on images that are never judged on")
    teacher = teacher_of(options, context.teacher, images.preprocessing, listener=context.listener)
    student = _student(options, context, teacher)
    if student.classes != teacher.num_classes:
        raise classes_differ(student.classes, teacher.num_classes)
    objective = Distilled(
        _asked_teacher(teacher, images, options, context),
        method=options.method,
        temperature=options.temperature,
        label_weight=options.label_weight,
        label_loss=label_loss(options.training, images.labels, classes=student.classes),
        warmup_epochs=options.training.epochs * WARMUP_SHARE if options.method == "dkd" else 0.0,
        identity=teacher.sha256,
    )
    fit(
        student.module,
        images,
        settings=options.training,
        objective=objective,
        scratch=context.scratch,
        listener=context.listener,
        seed=context.seed,
    )
    return write_checkpoint(
        student.module,
        source,
        context,
        classes=student.classes,
        kind=Distill.kind,
        variant=(source.variant if student.changed is not None else "") or "distilled",
        architecture=student.architecture,
        plan=student.plan,
    )


def teacher_of(options: Distill, original: Model, given: Preprocessing, *, listener: Listener) -> Model:
    """The network that `options` name as the teacher. Raises InputError where it is fed with other colours."""
    if options.teacher == ORIGINAL:
        return original
    opened = open_model(
        Path(options.teacher).expanduser(),
        architecture=options.teacher_model,
        classifies=original.num_classes != 1,
    )
    stated = _stated(opened)
    if stated is not None and stated.color != given.color:
        raise InputError(
            "preprocessing-differs",
            f"the teacher takes {stated.color} images and the student {given.color}",
            hint="give a teacher that was trained on the same images",
        )
    if stated is not None and stated.crop != given.crop:
        sizes = ["x".join(map(str, size)) for size in (stated.crop, given.crop)]
        message = f"the teacher was trained at {sizes[0]} and sees {sizes[1]}"
        listener(Warned("teacher-size", message, "a teacher of the same input size answers better"))
    return opened


class Renormalised(nn.Module):
    """A network behind the change from one mean and standard deviation to its own."""

    scale: Tensor
    shift: Tensor

    def __init__(self, module: nn.Module, given: Preprocessing, wanted: Preprocessing) -> None:
        super().__init__()
        self.module = module
        mean, std, own_mean, own_std = (
            torch.tensor(values).view(1, -1, 1, 1) for values in (given.mean, given.std, wanted.mean, wanted.std)
        )
        self.register_buffer("scale", std / own_std)
        self.register_buffer("shift", (mean - own_mean) / own_std)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.module(x * self.scale + self.shift)
        return answer


def seeing(teacher: Model, given: Preprocessing) -> nn.Module:
    """The teacher's network, fed with images as the student's are prepared."""
    stated, module = _stated(teacher), teacher.module()
    if stated is None or (stated.mean, stated.std) == (given.mean, given.std):
        return module
    return Renormalised(module, given, stated)


def _stated(model: Model) -> Preprocessing | None:
    """What the file itself says; a library's habit tells nothing of weights trained elsewhere."""
    is_stated = getattr(model, "preprocessing_source", "") == "checkpoint"
    preprocessing: Preprocessing | None = getattr(model, "preprocessing", None) if is_stated else None
    return preprocessing


def device_of(settings: TrainSettings) -> str:
    """Where training runs, and the teacher beside it."""
    return settings.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _asked_teacher(
    teacher: Model, images: LabelledImages, options: Distill, context: Context
) -> LiveTeacher | CachedLogits:
    module = seeing(teacher, images.preprocessing)
    if not options.caches:
        with torch.no_grad():  # what is wrong with it now would be taken for a fault of the training later
            for batch in images.take(ASKED_FIRST).batches(ASKED_FIRST):
                require_numbers(module.eval()(torch.from_numpy(batch)))
        return LiveTeacher(module)
    return CachedLogits(
        teacher_logits(
            module,
            images,
            identity=teacher.sha256,
            folder=context.scratch,
            device=device_of(options.training),
            listener=context.listener,
        )
    )


def _student(options: Distill, context: Context, teacher: Model) -> Student:
    if options.student is None:
        model = context.model
        return Student(model.module(), model.name, model.num_classes, model, getattr(model, "plan", None))
    from edgecnn.models.building import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        try:
            built = build(
                options.architecture(context.model.input_shape),
                num_classes=teacher.num_classes,
                pretrained=Path(options.student_weights).expanduser() if options.student_weights else None,
                dropout=options.training.dropout,
                stochastic_depth=options.training.stochastic_depth,
                size=context.model.input_shape[1:],
                channels=context.model.input_shape[0],
            )
        except InputError as error:
            error.hint = error.hint.replace("--model", "--student")  # --model names the teacher's network here
            raise
    for note in built.notes:
        context.listener(Warned("assumed", note))
    return Student(built.module, built.architecture, teacher.num_classes, None, built.plan)
