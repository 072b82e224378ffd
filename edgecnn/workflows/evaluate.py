"""`edgecnn evaluate`: what a model is worth on labelled images."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgecnn import __version__
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Finished, Listener, Started, Warned
from edgecnn.core.store import cannot_write, write_atomically
from edgecnn.data.evaluation_set import EvaluationSet, list_labelled, open_evaluation_set
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import below
from edgecnn.data.preprocessing import Source
from edgecnn.predict import tta
from edgecnn.predict.predictor import Predictor, open_predictor
from edgecnn.report.evaluation.model import Evaluation, Mistake
from edgecnn.tasks.classification.metrics import classify, probabilities_of

HARDEST = 32
"""Mistakes on the contact sheet."""
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
    )
    notes = (*predictor.notes, *judging.notes)
    for note in notes:
        listener(Warned("assumed", note))
    listener(Finished("read inputs", time.monotonic() - began))
    began = time.monotonic()
    scores, probabilities, given = answers(predictor, judging.images, request.views, listener=listener)
    seconds = time.monotonic() - began
    if given:
        notes += ("the file answers with probabilities: they are taken as they are",)
    labels = judging.images.labels or ()
    result = classify(scores, labels, probabilities=probabilities, names=judging.class_names)
    return Evaluation(
        file=source.checkpoint.name,
        model=predictor.facts(),
        runtime=predictor.runtime,
        data=judging.facts,
        preprocessing=predictor.preprocessing.to_dict(),
        preprocessing_source=_origin(predictor, source),
        tta=tta.in_words(request.views, predictor.preprocessing),
        views=tta.Views(judging.images, request.views, predictor.preprocessing).per_image,
        result=result,
        hardest=tuple(_hardest(judging, scores, probabilities)),
        notes=notes,
        seconds=seconds,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )


def _origin(predictor: Predictor, source: Source) -> str:
    """Where the preprocessing comes from; flags that say what matters make up for what nobody else said."""
    whole = {"mean", "std"} <= set(source.preprocessing or {})
    return predictor.preprocessing_source.removesuffix(" over guessed" if whole else "")


def answers(
    predictor: Predictor, images: ImageSet, views: tuple[str, ...], *, listener: Listener
) -> tuple[np.ndarray, np.ndarray, bool]:
    """(scores to rank classes by, probabilities, whether the file gave probabilities), each float32 (N, classes).

    Without augmentation the scores are the logits: a softmax in float32 would make ties of small differences.
    """
    if not views:
        logits = _checked(predictor.predict(images, listener=listener), predictor)
        probabilities, given = probabilities_of(logits.copy())
        return logits, probabilities, given
    seen = tta.Views(images, views, predictor.preprocessing)
    step = max(1, ROWS_BYTES // (4 * seen.per_image * predictor.num_classes))
    parts, given = [], False
    for start in range(0, len(images), step):
        some = replace(seen, images=images.select(range(start, min(start + step, len(images)))))
        probabilities, given = probabilities_of(_checked(predictor.predict(some, listener=listener), predictor))
        parts.append(tta.averaged(probabilities, seen.per_image))
    means = np.concatenate(parts)
    return means, means, given


def _checked(logits: np.ndarray, predictor: Predictor) -> np.ndarray:
    if logits.shape[1:] != (predictor.num_classes,):
        raise StepError(
            "bad-answer",
            f"{predictor.runtime} answered with {list(logits.shape[1:])} numbers an image, not one for each of "
            f"{predictor.num_classes} classes",
            hint="run it again; if it happens twice, look at the file with edgecnn inspect",
        )
    if not np.isfinite(logits).all():
        raise StepError(
            "not-finite",
            "the model answers NaN or infinity",
            hint="check the weights and the preprocessing: `edgecnn inspect` shows both",
        )
    return logits


def _hardest(judging: EvaluationSet, scores: np.ndarray, probabilities: np.ndarray) -> list[Mistake]:
    """The mistakes the model is surest of."""
    truth = np.asarray(judging.images.labels)
    rows = np.arange(len(truth))
    said = scores.argmax(1)
    confidence, true_confidence = probabilities[rows, said], probabilities[rows, truth]
    order = np.lexsort((true_confidence, -confidence))
    wrong = order[(said != truth)[order]][:HARDEST]
    images, names = judging.images, judging.class_names
    return [
        Mistake(
            path=images.paths[row],
            shown=below(images.paths[row], images.root),
            true=names[truth[row]],
            predicted=names[said[row]],
            confidence=float(confidence[row]),
            true_confidence=float(true_confidence[row]),
        )
        for row in wrong
    ]


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
    confusion.picture(evaluation.result.confusion, evaluation.names, folder / markdown.CONFUSION)
    cells = [
        Cell(item.path, (f"said {item.predicted}", f"is {item.true}", sure(item.confidence)))
        for item in evaluation.hardest
    ]
    if cells:
        sheet(cells, folder / markdown.HARDEST, title=f"{evaluation.file}: its surest mistakes")
    write_atomically(folder / "evaluation.json", json.render(evaluation))
    write_atomically(folder / "evaluation.md", markdown.render(evaluation))
    names = ("evaluation.md", "evaluation.json", markdown.CONFUSION, *((markdown.HARDEST,) if cells else ()))
    return [folder / name for name in names]
