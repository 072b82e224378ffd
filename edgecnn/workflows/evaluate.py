"""`edgecnn evaluate`: what a model is worth on labelled images."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgecnn import __version__
from edgecnn.core.errors import InputError
from edgecnn.core.events import Finished, Listener, Started, Warned
from edgecnn.core.stage import Images
from edgecnn.core.store import cannot_write, write_atomically
from edgecnn.data.evaluation_set import list_labelled, open_evaluation_set
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import below
from edgecnn.data.preprocessing import Source
from edgecnn.predict import tta
from edgecnn.predict.predictor import Predictor, open_predictor
from edgecnn.report.evaluation.model import Evaluation, Mistake
from edgecnn.tasks.task import Answers, Task, WrongAnswer, find, require_finite

ROWS_BYTES = 256 << 20
"""Answers held at a time where each image has several."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to judge: `source.checkpoint` may be an exported file as well, `source.data` is needed.

    `views` are names of `predict.tta.NAMES`. `device` and `threads`: see `predictor.open_predictor`.
    """

    source: Source
    views: tuple[str, ...] = ()
    device: str | None = None
    threads: int | None = None


def evaluate(request: Request, *, listener: Listener) -> Evaluation:
    """Judge one file. Raises InputError or MissingError before any work, StepError when it fails on its way."""
    source = request.source
    if source.data is None:
        raise InputError("no-data", "there is nothing to judge on", hint="--data DIR with images in a folder per class")
    task = find(source.task)
    listener(Started("read inputs"))
    began = time.monotonic()
    listing = list_labelled(source.data)
    predictor = open_predictor(source, device=request.device, threads=request.threads, listener=listener)
    judging = open_evaluation_set(
        listing,
        num_classes=predictor.num_classes,
        preprocessing=tta.enlarged(request.views, predictor.preprocessing),
        class_map=source.class_map,
        class_names=predictor.class_names,
        read_labels=task.read_labels,
    )
    notes = (*predictor.notes, *judging.notes)
    for note in notes:
        listener(Warned("assumed", note))
    listener(Finished("read inputs", time.monotonic() - began))
    began = time.monotonic()
    answers, said = predict(predictor, judging.images, request.views, task, listener=listener)
    seconds = time.monotonic() - began
    scores = task.score(answers, judging.class_names)
    return Evaluation(
        file=source.checkpoint.name,
        model=predictor.facts(),
        runtime=predictor.runtime,
        data=judging.facts,
        preprocessing=predictor.preprocessing.to_dict(),
        preprocessing_source=_origin(predictor, source),
        tta=tta.in_words(request.views, predictor.preprocessing),
        views=tta.Views(judging.images, request.views, predictor.preprocessing).per_image,
        result=scores,
        hardest=tuple(_with_path(mistake, judging.images) for mistake in scores.mistakes),
        notes=(*notes, *said),
        seconds=seconds,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )


def _origin(predictor: Predictor, source: Source) -> str:
    """Where the preprocessing comes from; flags that say what matters make up for what nobody else said."""
    whole = {"mean", "std"} <= set(source.preprocessing or {})
    return predictor.preprocessing_source.removesuffix(" over guessed" if whole else "")


def predict(
    predictor: Predictor, images: ImageSet, views: tuple[str, ...], task: Task, *, listener: Listener
) -> tuple[Answers, tuple[str, ...]]:
    """The answers to all images, each merged from its views where there are several, and what to know of them."""

    def outputs(images: Images) -> np.ndarray:
        found = predictor.predict(images, listener=listener)
        task.validate(found, width=predictor.num_classes, runtime=predictor.runtime)
        require_finite(found)
        return found

    if not views:
        raw = outputs(images)
        return Answers(raw, images), task.notes(raw)
    seen = tta.Views(images, views, predictor.preprocessing)
    step = max(1, ROWS_BYTES // (4 * seen.per_image * predictor.num_classes))
    merged: list[np.ndarray] = []
    notes: tuple[str, ...] = ()
    for start in range(0, len(images), step):
        raw = outputs(replace(seen, images=images.select(range(start, min(start + step, len(images))))))
        notes = task.notes(raw)
        merged.append(task.merge(raw, seen.per_image))
    return Answers(np.concatenate(merged), images), notes


def _with_path(wrong: WrongAnswer, images: ImageSet) -> Mistake:
    path = images.paths[wrong.row]
    shown = below(path, images.root)
    return Mistake(path, shown, wrong.label, wrong.answer, wrong.confidence, wrong.label_confidence)


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.json, evaluation.md, confusion.png and, where there are mistakes, hardest.png; what was written.

    Raises StepError where the disk refuses.
    """
    from edgecnn.report.evaluation import confusion, json, markdown
    from edgecnn.report.evaluation.words import sure
    from edgecnn.report.sheet import Cell, sheet

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / markdown.HARDEST).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    scores = evaluation.classification
    if scores is not None:
        names = tuple(score.name for score in scores.classes)
        confusion.picture(scores.confusion, names, folder / markdown.CONFUSION)
    cells = [
        Cell(item.path, (f"said {item.predicted}", f"is {item.true}", sure(item.confidence)))
        for item in evaluation.hardest
    ]
    if cells:
        sheet(cells, folder / markdown.HARDEST, title=f"{evaluation.file}: its surest mistakes")
    write_atomically(folder / "evaluation.json", json.render(evaluation))
    write_atomically(folder / "evaluation.md", markdown.render(evaluation))
    pictures = [name for name, there in ((markdown.CONFUSION, scores), (markdown.HARDEST, cells)) if there]
    return [folder / name for name in ("evaluation.md", "evaluation.json", *pictures)]
