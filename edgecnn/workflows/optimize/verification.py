"""Verification: each file is compared with PyTorch; the checkpoint's own answers there are the baseline of verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecnn.core.artifact import Kind
from edgecnn.core.errors import StepError
from edgecnn.core.events import scoped
from edgecnn.core.stage import Images, Model
from edgecnn.report.model import FLOOR_DB, Parity
from edgecnn.tasks.task import Answers
from edgecnn.workflows.optimize.assessment import Assessment, cached_outputs, key_of
from edgecnn.workflows.optimize.planning import RunContext

VERIFIED = 128
"""Images on which every artifact is compared with PyTorch."""
WRONG_EXPORT = "wrong-export"


def reference(model: Model, images: Images, context: RunContext) -> tuple[np.ndarray, dict[str, Any]]:
    """Outputs of a torch network for all images, and a record of the step."""
    from edgecnn.predict.torch import torch_outputs

    label = "verify PyTorch"
    key = key_of(("torch", "torchvision", "timm", "pillow"), model.sha256, images.digest)
    listener = scoped(context.listener, label)
    return cached_outputs(
        context, "reference", key, lambda: torch_outputs(model, images, listener=listener), label=label
    )


def checkpoint_answers(context: RunContext) -> tuple[Answers | None, list[dict[str, Any]]]:
    """What every file is judged against: what the checkpoint answers in PyTorch to the evaluation images, and the
    record of the step. None and no record where there are no such images."""
    images = context.data.evaluation
    if images is None:
        return None, []
    outputs, record = reference(context.model, images, context)
    return Answers(outputs, images), [record]


def verify(assessment: Assessment, images: Images, context: RunContext) -> None:
    """Compare the file's first answers to `images` with PyTorch's. Raises StepError `wrong-export` for an FP32 file
    that computes something else, with the first layer that does."""
    from edgecnn.predict.parity import parity

    first = images.take(VERIFIED)
    expected, record = reference(assessment.model, first, context)
    assessment.records.append(record)
    if assessment.answers is None or not len(assessment.answers):
        return
    outputs = assessment.answers.outputs[: len(expected)]
    figures: dict[str, Any] = parity(expected, outputs)
    assessment.parity = Parity(**figures, agreement=context.task.agreement(expected, outputs))
    if assessment.artifact.precision == "fp32" and assessment.parity.departs:
        raise _wrong_export(assessment, assessment.parity, np.abs(expected - outputs), first)


def _wrong_export(assessment: Assessment, parity: Parity, differences: np.ndarray, images: Images) -> StepError:
    from edgecnn.predict.departure import departing_layer

    worst = int(differences.reshape(len(differences), -1).max(axis=1).argmax())
    layer = departing_layer(assessment.artifact, assessment.model, images, worst=worst)
    return StepError(
        WRONG_EXPORT,
        f"{assessment.name} does not compute what the checkpoint computes in PyTorch: {parity.sqnr_db:.1f} dB and "
        f"{parity.agreement:.1%} agreement on {parity.images} images, where an FP32 file has {FLOOR_DB:g} dB at least",
        why=f"the first layer that departs: {layer or 'none could be named'}",
        hint="choose another --format, or write that layer in another way",
    )


def validate_source(assessment: Assessment, assessments: Mapping[Kind, Assessment]) -> None:
    """Raise StepError where the FP32 file that this one was made from is a `wrong-export`."""
    source = assessments.get(assessment.artifact.kind._replace(precision="fp32"))
    if source is None or source is assessment or source.error is None or source.error.code != WRONG_EXPORT:
        return
    raise StepError(
        WRONG_EXPORT,
        f"{assessment.name} is made from {source.name}, which does not compute what the checkpoint computes",
        why=source.error.why,
        hint=source.error.hint,
    )
