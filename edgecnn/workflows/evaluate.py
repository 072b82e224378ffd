"""`edgecnn evaluate`: what a model is worth on labelled images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn import __version__
from edgecnn.core.events import Listener, Warned, ignore, timed
from edgecnn.core.stage import Images
from edgecnn.core.store import cannot_write, require_folder, write_atomically
from edgecnn.data.evaluation_set import EvaluationSet, list_labelled, open_evaluation_set, open_tensor_set
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import Listing, below
from edgecnn.data.preprocessing import Source
from edgecnn.data.tensors import TensorImages
from edgecnn.predict.predictor import Predictor, TorchPredictor, open_predictor
from edgecnn.predict.rivals import decided
from edgecnn.predict.tta import Views, enlarged, in_words, parse
from edgecnn.report.evaluation.model import Evaluation, Mistake
from edgecnn.tasks.task import DEFAULT, Answers, Task, WrongAnswer, find, require_finite
from edgecnn.workflows.arguments import PathLike, source_of

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments

ROWS_BYTES = 256 << 20
"""Answers held at a time where each image has several."""


def evaluate(
    file: PathLike | nn.Module,
    *,
    data: PathLike | Iterable[Any] | Mapping[str, Iterable[Any]],
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str | None = None,
    tta: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    out: PathLike | None = None,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> Evaluation:
    """Judge a checkpoint or an exported file on labelled images; reports and pictures go to `out`.

    `task` is what the file says unless given, and classification where it says nothing. `tta` averages
    views of each image: flip, shift, five-crop or several with commas between. `device` is cpu or cuda for a
    checkpoint, one of your boards for an exported file. `file` may be an nn.Module, and `data` an iterable of (images,
    labels) as `optimize` takes it: the part `val` of a mapping, or all of it, judges. Raises InputError or MissingError
    before any work, StepError when it fails on its way.
    """
    if out is not None:
        require_folder(Path(out))
    source = source_of(
        file,
        model=model,
        weights=weights,
        data=data,
        class_map=class_map,
        task=task or DEFAULT,
        preprocessing=preprocessing,
    )
    views, given = parse(tta), find(task) if task else None
    with timed(listener, "read inputs"):
        listing = None if source.data is None else list_labelled(source.data)
        predictor = open_predictor(source, device=device, threads=threads, listener=listener)
        purpose = given or find(predictor.task or DEFAULT)
        judging = _evaluation_set(source, listing, predictor, purpose, views)
        predictor, notes = _settled(predictor, source, judging, purpose)
        for note in notes:
            listener(Warned("assumed", note))
    began = time.monotonic()
    answers, said = predict(predictor, judging.images, views, purpose, listener=listener)
    seconds = time.monotonic() - began
    scores = purpose.score(answers, judging.class_names)
    evaluation = Evaluation(
        file=source.checkpoint.name,
        model=predictor.facts(),
        runtime=predictor.runtime,
        data=judging.facts,
        preprocessing=predictor.preprocessing.to_dict(),
        preprocessing_source=_origin(predictor, source),
        tta=in_words(views, predictor.preprocessing),
        views=Views(judging.images, views, predictor.preprocessing).per_image,
        result=scores,
        hardest=tuple(_with_path(mistake, judging.images) for mistake in scores.mistakes),
        notes=(*notes, *said),
        seconds=seconds,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )
    if out is not None:
        write(evaluation, Path(out))
    return evaluation


def _settled(
    predictor: Predictor, source: Source, judging: EvaluationSet, task: Task
) -> tuple[Predictor, tuple[str, ...]]:
    """The predictor of the architecture that the images show to be trained, and what there is to say."""
    notes = (*predictor.notes, *judging.notes)
    if not isinstance(predictor, TorchPredictor) or not predictor.model.rivals or task.name != DEFAULT:
        return predictor, notes
    model, note = decided(predictor.model, source, judging.images)
    return replace(predictor, model=model), (*notes, note)


def _evaluation_set(
    source: Source, listing: Listing | None, predictor: Predictor, task: Task, views: tuple[str, ...]
) -> EvaluationSet:
    """The images that judge: of a folder or table, which `listing` has read, or tensors in memory."""
    preprocessing = enlarged(views, predictor.preprocessing)
    if listing is None:
        return open_tensor_set(
            source.tensors,
            num_classes=predictor.num_classes,
            stated=source.preprocessing or {},
            class_names=predictor.class_names,
        )
    return open_evaluation_set(
        listing,
        num_classes=predictor.num_classes,
        preprocessing=preprocessing,
        class_map=source.class_map,
        class_names=predictor.class_names,
        read_labels=task.read_labels,
    )


def _origin(predictor: Predictor, source: Source) -> str:
    """Where the preprocessing comes from; flags that say what matters make up for what nobody else said."""
    whole = {"mean", "std"} <= set(source.preprocessing or {})
    return predictor.preprocessing_source.removesuffix(" over guessed" if whole else "")


def predict(
    predictor: Predictor, images: ImageSet | TensorImages, views: tuple[str, ...], task: Task, *, listener: Listener
) -> tuple[Answers, tuple[str, ...]]:
    """The answers to all images, each merged from its views where there are several, and what to know of them."""

    def outputs(images: Images) -> np.ndarray:
        predictions = predictor.predict(images, listener=listener)
        task.validate(predictions, width=predictor.num_classes, runtime=predictor.runtime)
        require_finite(predictions)
        return predictions

    if not views:
        raw = outputs(images)
        return Answers(raw, images), task.notes(raw)
    seen = Views(images, views, predictor.preprocessing)
    step = max(1, ROWS_BYTES // (4 * seen.per_image * predictor.num_classes))
    merged: list[np.ndarray] = []
    notes: tuple[str, ...] = ()
    for start in range(0, len(images), step):
        raw = outputs(replace(seen, images=images.select(range(start, min(start + step, len(images))))))
        notes = task.notes(raw)
        merged.append(task.merge(raw, seen.per_image))
    return Answers(np.concatenate(merged), images), notes


def _with_path(wrong: WrongAnswer, images: ImageSet | TensorImages) -> Mistake:
    path = images.paths[wrong.row] if isinstance(images, ImageSet) else None
    shown = below(path, images.root) if isinstance(images, ImageSet) and path else f"image {wrong.row}"
    return Mistake(path, shown, wrong.label, wrong.answer, wrong.confidence, wrong.label_confidence)


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write evaluation.json, evaluation.md, confusion.png and, where there are mistakes, hardest.png.

    Raises StepError where the disk refuses.
    """
    from edgecnn.report import archive, markdown
    from edgecnn.report.contact_sheet import SheetPicture, write_sheet
    from edgecnn.report.evaluation import confusion
    from edgecnn.report.evaluation.document import CONFUSION, HARDEST, document, sure

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HARDEST).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    scores = evaluation.classification
    if scores is not None:
        names = tuple(score.name for score in scores.classes)
        confusion.picture(scores.confusion, names, folder / CONFUSION)
    cells = [
        SheetPicture(item.path, (f"said {item.predicted}", f"is {item.true}", sure(item.confidence)))
        for item in evaluation.hardest
        if item.path is not None
    ]
    if cells:
        write_sheet(cells, folder / HARDEST, title=f"{evaluation.file}: its surest mistakes")
    write_atomically(folder / "evaluation.json", archive.dumps(evaluation.to_dict()))
    write_atomically(folder / "evaluation.md", markdown.render(document(evaluation)))
