"""`edgecnn check`: whether a candidate may replace its baseline, judged on the same images."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn import __version__
from edgecnn.config.recipe import Budget
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned, ignore, timed
from edgecnn.core.quantities import share
from edgecnn.core.store import cannot_write, require_folder
from edgecnn.data.evaluation_set import EvaluationSet
from edgecnn.data.images import ImageSet
from edgecnn.data.opening import list_images
from edgecnn.formats.registry import runtime_packages
from edgecnn.measure.effort import profile_named
from edgecnn.report.check.model import ChangedImage, LatencyRatio, RegressionCheck
from edgecnn.tasks.task import DEFAULT, Answers, Task, find
from edgecnn.workflows.arguments import PathLike, budget_of, path_or_none, preprocessing_fields, usage_error
from edgecnn.workflows.check import baseline_file, output
from edgecnn.workflows.check.gates import Asked, files_to_time, gates, limit_of, time_pair
from edgecnn.workflows.check.judging import Judged, departing, judge, output_difference
from edgecnn.workflows.check.sides import (
    ModelSide,
    RecordedSide,
    Side,
    agreed_names,
    comparable,
    open_images,
    open_side,
    validate_order,
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
    _validate_places(out, save, junit)
    profile_named(profile)
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
        validate_order(judging.class_names, names)
        images, notes = _settled(pair, judging)
        for note in notes:
            listener(Warned("assumed", note))
    judged = judge(pair, images, purpose, asked=asked, order=seed if sequential else None, listener=listener)
    latency = time_pair(to_time, profile=profile, seed=seed, listener=listener) if to_time is not None else None
    result = _result(pair, judged, judging, purpose, asked=asked, latency=latency, available=len(images))
    wrote = []
    if save is not None:
        output.recorded(judged.before, pair[0].model, judging, purpose).save(Path(save))
        wrote.append(str(save))
    if update and against is not None:
        after = (
            judged.after if len(images) == len(judging.images) else _all_answers(pair[1], judging, purpose, listener)
        )
        output.recorded(after, pair[1].model, judging, purpose).save(Path(against))
        wrote.append(str(against))
    result = replace(
        result,
        notes=(*notes, *purpose.suspicions(judged.before, judged.after)),
        seconds=time.monotonic() - began,
        alone=save is not None and pair[0] is pair[1],
        wrote=tuple(wrote),
    )
    output.write(result, folder=path_or_none(out), junit_file=path_or_none(junit))
    return result


def _paths(
    models: PathLike | Sequence[PathLike], *, against: Any, save: Any, update: bool, sequential: bool
) -> list[Path]:
    """The baseline and the candidate; the candidate alone where there is a baseline file. Raises InputError."""
    paths = [Path(models)] if isinstance(models, str | Path) else [Path(place) for place in models]
    if update and against is None:
        raise usage_error("--update rewrites the file that --against names: give both", "check")
    if sequential and (save is not None or update):
        raise usage_error("--sequential may stop early: what --save and --update write would not be whole", "check")
    if save is not None and against is not None:
        raise usage_error("--save writes the answers of a model that is run, --against names a file: give one", "check")
    if against is not None:
        if len(paths) != 1:
            raise usage_error("--against is the baseline: name one candidate beside it", "check")
        return paths
    if len(paths) == 1 and save is not None:
        return [*paths, *paths]
    if len(paths) != 2:
        raise usage_error("name a baseline and a candidate, or --against FILE and a candidate", "check")
    return paths


def _validate_places(out: PathLike | None, *files: PathLike | None) -> None:
    """Raise CannotWrite where a folder or a file could not be written, before any work."""
    for file in files:
        if file is not None and Path(file).is_dir():
            raise cannot_write(Path(file), IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    for folder in (out, *(Path(file).parent for file in files if file is not None)):
        if folder is not None:
            require_folder(Path(folder))


def _all_answers(side: Side, judging: EvaluationSet, task: Task, listener: Listener) -> Answers:
    """The answers to every image, those that a baseline file does not know among them."""
    images = judging.images
    assert isinstance(images, ImageSet)
    return Answers(side.answers(images, task, listener=listener), images)


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
    notes = (
        *pair[0].notes,
        *pair[1].notes,
        *judging.notes,
        *changes,
        *_other_machine(*pair),
        *_prepared_otherwise(*pair),
    )
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


def _prepared_otherwise(baseline: Side, candidate: ModelSide) -> Iterator[str]:
    before, after = baseline.model.preprocessing or {}, candidate.model.preprocessing or {}
    differ = [name for name in before if before[name] != after.get(name)]
    if differ:
        said = ", ".join(f"{name} {before[name]} and {after.get(name)}" for name in differ)
        yield f"baseline and candidate prepare images otherwise: {said}"


def _result(
    pair: tuple[Side, ModelSide],
    judged: Judged,
    judging: EvaluationSet,
    task: Task,
    *,
    asked: Asked,
    latency: LatencyRatio | None,
    available: int,
) -> RegressionCheck:
    judgement, signs = judged.judgement, task.suspicions(judged.before)
    if signs and judgement.outcome == "PASS":  # against a baseline that is wrong, nothing is shown to be right
        judgement = replace(judgement, outcome="INCONCLUSIVE", why=signs[0])
    differences = task.differences(
        judged.before,
        judged.after,
        judging.class_names,
        max_class_drop=asked.max_class_drop or 0.0,
        confidence=judgement.confidence,
    )
    images = judged.after.images
    assert isinstance(images, ImageSet)
    return RegressionCheck(
        baseline=pair[0].model,
        candidate=pair[1].model,
        data=judging.facts,
        metric=task.metric,
        judgement=judgement,
        max_drop=task.budget(asked.max_drop),
        gates=tuple(
            gates(
                asked, judgement, differences, latency, pair[1].model.size_bytes, whole=len(judged.after) == available
            )
        ),
        available=available,
        differences=differences,
        changed=tuple(ChangedImage(images.ids[item.row], images.paths[item.row], item) for item in differences.broken),
        outputs=output_difference(pair[0], judged),
        latency=latency,
        judged=len(images),
        looks=judged.looks,
        departing=departing(pair, judged) if judged.judgement.outcome != "PASS" else "",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )
