"""Judging of a check: look after look at the images that both answer, and what their raw outputs say besides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from edgecnn.core.events import Listener
from edgecnn.data.images import ImageSet
from edgecnn.formats.inspect import read
from edgecnn.predict.parity import parity
from edgecnn.predict.predictor import RuntimePredictor, TorchPredictor
from edgecnn.report.check.model import OutputDifference
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.statistics.sequential import Look, looks
from edgecnn.tasks.task import Answers, Judgement, Task
from edgecnn.workflows.check.gates import Asked
from edgecnn.workflows.check.sides import ModelSide, RecordedSide, Side


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers of both to the images that were looked at, and what they came to."""

    before: Answers
    after: Answers
    judgement: Judgement
    looks: int


def judge(
    pair: tuple[Side, Side], images: ImageSet, task: Task, *, asked: Asked, order: int | None, listener: Listener
) -> Judged:
    """Judge on all images; with the seed of an `order` look at more and more of them until the answer is certain."""
    plan = looks(len(images)) if order is not None else (Look(len(images), CONFIDENCE),)
    images = _shuffled(images, order) if order is not None else images
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    done, judged = 0, None
    for number, look in enumerate(plan, start=1):
        part = images.select(range(done, look.images))
        parts[0].append(pair[0].answers(part, task, listener=listener))
        parts[1].append(parts[0][-1] if pair[0] is pair[1] else pair[1].answers(part, task, listener=listener))
        done = look.images
        before, after = (Answers(np.concatenate(answers), images.take(done)) for answers in parts)
        judgement = task.compare(before, after, max_drop=asked.max_drop, confidence=look.confidence)
        judged = Judged(before, after, judgement, number)
        if judgement.outcome == "FAIL" or (judgement.outcome == "PASS" and asked.max_class_drop is None):
            break
    assert judged is not None
    return judged


def _shuffled(images: ImageSet, seed: int) -> ImageSet:
    """In an order that their content and the seed decide, so that the first of them are of all classes."""
    ranks = [hashlib.sha256(f"{seed} {digest}".encode()).digest() for digest in images.file_digests()]
    return images.select(sorted(range(len(images)), key=ranks.__getitem__))


def output_difference(baseline: Side, judged: Judged) -> OutputDifference | None:
    """A baseline file holds no raw outputs."""
    if isinstance(baseline, RecordedSide):
        return None
    figures = parity(judged.before.outputs, judged.after.outputs)
    ratio = figures["sqnr_db"]
    return OutputDifference(None if ratio is None else float(ratio), float(figures["cosine"] or 0.0))


def departing(pair: tuple[Side, ModelSide], judged: Judged) -> str:
    """The first layer of a checkpoint that its FP32 file computes otherwise; empty for anything else, for in INT8 every
    layer departs a little."""
    before = pair[0].predictor if isinstance(pair[0], ModelSide) else None
    after = pair[1].predictor
    if not isinstance(before, TorchPredictor) or not isinstance(after, RuntimePredictor):
        return ""
    if before.preprocessing != after.preprocessing or {"int8", "uint8"} & set(
        read(after.artifact.path, after.artifact.format).layers
    ):
        return ""
    from edgecnn.predict.departure import departing_layer

    apart = np.abs(judged.before.outputs - judged.after.outputs).reshape(len(judged.before), -1).max(1)
    images = judged.after.images
    assert isinstance(images, ImageSet)
    return departing_layer(
        after.artifact, before.model, images.prepared(before.preprocessing), worst=int(apart.argmax())
    )
