"""`edgecnn check`: whether a candidate may replace its baseline, judged on the same images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn import __version__
from edgecnn.config.recipe import Budget
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned, ignore, timed
from edgecnn.core.quantities import share
from edgecnn.core.store import require_folder
from edgecnn.data.evaluation_set import EvaluationSet
from edgecnn.data.images import ImageSet
from edgecnn.data.opening import list_images
from edgecnn.formats.inspect import read
from edgecnn.formats.registry import runtime_packages
from edgecnn.predict.parity import parity
from edgecnn.predict.predictor import RuntimePredictor, TorchPredictor
from edgecnn.report.check.model import ChangedImage, LatencyRatio, OutputDifference, RegressionCheck
from edgecnn.statistics.proportions import CONFIDENCE
from edgecnn.statistics.sequential import Look, looks
from edgecnn.tasks.task import DEFAULT, Answers, Judgement, Task, find
from edgecnn.workflows.arguments import PathLike, budget_of, path_or_none, preprocessing_fields, usage_error
from edgecnn.workflows.check import baseline_file, output
from edgecnn.workflows.check.gates import Asked, files_to_time, gates, limit_of, time_pair
from edgecnn.workflows.check.sides import (
    ModelSide,
    RecordedSide,
    Side,
    agreed_names,
    comparable,
    open_images,
    open_side,
)
from edgecnn.workflows.optimize.planning import versions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments


def check(
    models: PathLike | Sequence[PathLike],
    *,
    data: PathLike,
    against: PathLike | None = None,
    max_drop: float | str | None = None,
    max_class_drop: float | str | None = None,
    max_latency_ratio: float | str | None = None,
    max_size: float | str | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str | None = None,
    device: str | None = None,
    profile: str = "quick",
    threads: int | None = None,
    sequential: bool = False,
    seed: int = 0,
    save: PathLike | None = None,
    update: bool = False,
    out: PathLike | None = None,
    junit: PathLike | None = None,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> RegressionCheck:
    """Judge a candidate against its baseline on the same distinct images; the outcome is the worst of what is asked.

    `models` are the baseline and the candidate; the candidate alone where `against` names a baseline file; one model
    alone where `save` is to write its baseline file, which is then held against itself. Each is a checkpoint, an
    exported file, a bundle or a finished run.
    `max_drop` is the largest loss of the task's metric that passes (1 % of the images unless given), `max_class_drop`
    that of any class, `max_latency_ratio` candidate time over baseline time, `max_size` bytes of the candidate.
    `sequential` looks after 50, 100, 200 ... images and stops when the answer is certain. `device` runs exported files.
    `save` writes the baseline's answers, `update` the candidate's over `against`. Raises InputError or MissingError
    before any work, StepError later.
    """
    paths = _paths(models, against=against, save=save, update=update, sequential=sequential)
    for folder in (out, *(Path(file).parent for file in (save, junit) if file is not None)):
        if folder is not None:
            require_folder(Path(folder))
    began = time.monotonic()
    with timed(listener, "read inputs"):
        options = {"model": model, "weights": weights, "device": device, "threads": threads, "listener": listener}
        pair = _open(paths, against, options=options, preprocessing=preprocessing_fields(preprocessing))
        purpose = find(task or _stated_task(pair) or DEFAULT)
        asked = _asked(purpose, max_drop, max_class_drop, max_latency_ratio, max_size)
        to_time = files_to_time(*pair) if asked.max_latency_ratio is not None else None
        names = agreed_names(*pair)
        listing = list_images(Path(data), unlabelled=True)
        judging = open_images(listing, pair[1], purpose, names=names, class_map=path_or_none(class_map))
        images, notes = _settled(pair, judging)
        for note in notes:
            listener(Warned("assumed", note))
    judged = _judge(pair, images, purpose, asked=asked, order=seed if sequential else None, listener=listener)
    latency = time_pair(to_time, profile=profile, seed=seed, listener=listener) if to_time is not None else None
    result = _result(pair, judged, judging, purpose, asked=asked, latency=latency)
    result = replace(
        result,
        available=len(images),
        notes=(*notes, *purpose.suspicions(judged.before, judged.after)),
        seconds=time.monotonic() - began,
    )
    if save is not None:
        output.recorded(judged.before, pair[0].model, judging, purpose).save(Path(save))
    if update and against is not None:
        output.recorded(judged.after, pair[1].model, judging, purpose).save(Path(against))
    output.write(result, folder=path_or_none(out), junit_file=path_or_none(junit))
    return result


@dataclass(frozen=True, slots=True)
class _Judged:
    """The answers of both to the images that were looked at, and what they came to."""

    before: Answers
    after: Answers
    judgement: Judgement
    looks: int


def _paths(
    models: PathLike | Sequence[PathLike], *, against: Any, save: Any, update: bool, sequential: bool
) -> list[Path]:
    """The baseline and the candidate; the candidate alone where there is a baseline file. Raises InputError."""
    paths = [Path(models)] if isinstance(models, str | Path) else [Path(place) for place in models]
    if update and against is None:
        raise usage_error("--update rewrites the file that --against names: give both", "check")
    if sequential and (save is not None or update):
        raise usage_error("--sequential may stop early: what --save and --update write would not be whole", "check")
    if against is not None:
        if len(paths) != 1:
            raise usage_error("--against is the baseline: name one candidate beside it", "check")
        return paths
    if len(paths) == 1 and save is not None:
        return [*paths, *paths]
    if len(paths) != 2:
        raise usage_error("name a baseline and a candidate, or --against FILE and a candidate", "check")
    return paths


def _open(
    paths: list[Path], against: PathLike | None, *, options: dict[str, Any], preprocessing: dict[str, Any]
) -> tuple[Side, ModelSide]:
    """The baseline and the candidate."""
    recorded = RecordedSide(baseline_file.load(Path(against))) if against is not None else None
    opened = {path: open_side(path, preprocessing=preprocessing, **options) for path in dict.fromkeys(paths)}
    return recorded or opened[paths[0]], opened[paths[-1]]


def _stated_task(pair: tuple[Side, ModelSide]) -> str | None:
    """What a file says it is for."""
    if isinstance(pair[0], RecordedSide):
        return pair[0].file.task
    return next((side.predictor.task for side in pair if isinstance(side, ModelSide) and side.predictor.task), None)


def _asked(task: Task, max_drop: Any, max_class_drop: Any, max_latency_ratio: Any, max_size: Any) -> Asked:
    budget = budget_of(Budget(), task.metric, max_drop=max_drop, max_size=max_size)
    return Asked(budget.max_drop, _class_share(max_class_drop), limit_of(max_latency_ratio), budget.max_size)


def _class_share(value: float | str | None) -> float | None:
    try:
        read = None if value is None else share(value)
    except ValueError:
        read = -1.0
    if read is not None and not (isinstance(read, int | float) and 0 <= read < 1):
        raise InputError("bad-max-class-drop", f"--max-class-drop {value} makes no sense", hint="write 5% or 0.05")
    return read


def _settled(pair: tuple[Side, ModelSide], judging: EvaluationSet) -> tuple[ImageSet, tuple[str, ...]]:
    """The images that both answer, and what there is to know of them and of the two."""
    images = judging.images
    assert isinstance(images, ImageSet)
    images, changes = comparable(pair[0], images, output.named(images.labels, judging.class_names))
    notes = (*pair[0].notes, *pair[1].notes, *judging.notes, *changes, *_other_machine(*pair))
    return images, tuple(dict.fromkeys(notes))


def _other_machine(baseline: Side, candidate: ModelSide) -> Iterator[str]:
    """Of a baseline file: another runtime, device or version than the candidate's."""
    if not isinstance(baseline, RecordedSide):
        return
    if baseline.model.runtime != candidate.model.runtime:
        yield f"the baseline was recorded in {baseline.model.runtime}, the candidate runs in {candidate.model.runtime}"
    here = versions(("edgecnn", *runtime_packages(), "torch"))
    other = [
        f"{name} {version} (here {here.get(name, 'missing')})"
        for name, version in baseline.file.versions.items()
        if here.get(name) != version
    ]
    if other:
        yield f"the baseline was recorded with {', '.join(other)}"


def _judge(
    pair: tuple[Side, Side], images: ImageSet, task: Task, *, asked: Asked, order: int | None, listener: Listener
) -> _Judged:
    """Judge on all images; with the seed of an `order` look at more and more of them until the answer is certain."""
    plan = looks(len(images)) if order is not None else (Look(len(images), CONFIDENCE),)
    images = _shuffled(images, order) if order is not None else images
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    done, judged = 0, None
    for number, look in enumerate(plan, start=1):
        part = images.select(range(done, look.images))
        for side, answers in zip(pair, parts, strict=True):
            answers.append(side.answers(part, task, listener=listener))
        done = look.images
        before, after = (Answers(np.concatenate(answers), images.take(done)) for answers in parts)
        judgement = task.compare(before, after, max_drop=asked.max_drop, confidence=look.confidence)
        judged = _Judged(before, after, judgement, number)
        if judgement.outcome != "INCONCLUSIVE":
            break
    assert judged is not None
    return judged


def _shuffled(images: ImageSet, seed: int) -> ImageSet:
    """In an order that their content and the seed decide, so that the first of them are of all classes."""
    ranks = [hashlib.sha256(f"{seed} {digest}".encode()).digest() for digest in images.file_digests()]
    return images.select(sorted(range(len(images)), key=ranks.__getitem__))


def _result(
    pair: tuple[Side, ModelSide],
    judged: _Judged,
    judging: EvaluationSet,
    task: Task,
    *,
    asked: Asked,
    latency: LatencyRatio | None,
) -> RegressionCheck:
    differences = task.differences(
        judged.before,
        judged.after,
        judging.class_names,
        max_class_drop=asked.max_class_drop or 0.0,
        confidence=judged.judgement.confidence,
    )
    images = judged.after.images
    assert isinstance(images, ImageSet)
    return RegressionCheck(
        baseline=pair[0].model,
        candidate=pair[1].model,
        data=judging.facts,
        metric=task.metric,
        judgement=judged.judgement,
        max_drop=task.budget(asked.max_drop),
        gates=tuple(gates(asked, judged.judgement, differences, latency, pair[1].model.size_bytes)),
        differences=differences,
        changed=tuple(ChangedImage(images.ids[item.row], images.paths[item.row], item) for item in differences.broken),
        outputs=_output_difference(pair[0], judged),
        latency=latency,
        judged=len(images),
        looks=judged.looks,
        departing=_departing(pair, judged) if judged.judgement.outcome != "PASS" else "",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )


def _output_difference(baseline: Side, judged: _Judged) -> OutputDifference | None:
    """A baseline file holds no raw outputs."""
    if isinstance(baseline, RecordedSide):
        return None
    figures = parity(judged.before.outputs, judged.after.outputs)
    ratio = figures["sqnr_db"]
    return OutputDifference(None if ratio is None else float(ratio), float(figures["cosine"] or 0.0))


def _departing(pair: tuple[Side, ModelSide], judged: _Judged) -> str:
    """The first layer of a checkpoint that its FP32 file computes otherwise; empty for anything else, for in INT8 every
    layer departs a little."""
    before = pair[0].predictor if isinstance(pair[0], ModelSide) else None
    after = pair[1].predictor
    if not isinstance(before, TorchPredictor) or not isinstance(after, RuntimePredictor):
        return ""
    if {"int8", "uint8"} & set(read(after.artifact.path, after.artifact.format).layers):
        return ""
    from edgecnn.predict.departure import departing_layer

    apart = np.abs(judged.before.outputs - judged.after.outputs).reshape(len(judged.before), -1).max(1)
    images = judged.after.images
    assert isinstance(images, ImageSet)
    return departing_layer(
        after.artifact, before.model, images.prepared(before.preprocessing), worst=int(apart.argmax())
    )
