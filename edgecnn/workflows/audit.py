"""`edgecnn data audit`: what is wrong with a data set, before anything is trained or judged on it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgecnn import __version__
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener, Warned, ignore, timed
from edgecnn.core.outcome import EXIT_CODES
from edgecnn.core.result import Result
from edgecnn.core.store import cannot_write, require_folder, write_atomically
from edgecnn.data.audit.classes import balance, oddities, sizes
from edgecnn.data.audit.copies import exact_copies, near_copies
from edgecnn.data.audit.images import ScannedImages, look_at
from edgecnn.data.audit.labels import LabelDoubt, doubtful
from edgecnn.data.classes import ClassMap, class_map_for
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import Listing, below
from edgecnn.data.opening import list_images
from edgecnn.data.preprocessing import Source
from edgecnn.predict.predictor import Predictor, open_predictor
from edgecnn.report import archive, markdown
from edgecnn.report.audit import json
from edgecnn.report.audit.document import COPIES, DOUBTS, document
from edgecnn.report.audit.findings import findings, outcome
from edgecnn.report.audit.model import Audit, LabelDoubts
from edgecnn.report.contact_sheet import SheetPicture, write_sheet
from edgecnn.report.evaluation.document import sure
from edgecnn.tasks.classification.metrics import probabilities_of
from edgecnn.tasks.task import DEFAULT, Answers, find
from edgecnn.workflows.arguments import PathLike, source_of, usage_error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments

ON_A_SHEET, IN_A_GROUP = 64, 8
LOOK, COMPARE = "look at images", "compare images"


class DataAudit(Audit, Result):
    """An audit as a result: it can be shown, and says whether a finding spoils a verdict."""

    renderer: ClassVar[str] = "edgecnn.report.audit.document:to_markdown"

    @property
    def exit_code(self) -> int:
        """1 where a finding spoils a verdict."""
        return EXIT_CODES[outcome(findings(self))]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every file by its name."""
        return json.to_dict(self)


def audit(
    folder: PathLike,
    *,
    checkpoint: PathLike | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    device: str | None = None,
    threads: int | None = None,
    out: PathLike | None = None,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> DataAudit:
    """Look at every image of a data set; the confident answers of the model `checkpoint` are held against its labels.

    Reports and contact sheets go to `out`. Raises InputError where there are no images by class, or they do not fit the
    model.
    """
    if checkpoint is None and (model or weights or class_map or device or threads or any(preprocessing.values())):
        raise usage_error("options of a model need --checkpoint FILE", "data audit")
    began = time.monotonic()
    if out is not None:
        require_folder(Path(out))
    listing = list_images(Path(folder))
    opened = None
    if checkpoint is not None:
        source = source_of(
            checkpoint, model=model, weights=weights, data=folder, class_map=class_map, preprocessing=preprocessing
        )
        opened = _open(source, listing, device=device, threads=threads, listener=listener)
    parts = _parts(listing)
    looked = look(listing, listener=listener)
    with timed(listener, COMPARE):
        copies = (*exact_copies(looked), *near_copies(looked))
    labels = [sample.label for sample in listing.samples]
    by_part = {part: [look for look, at in zip(looked.looks, parts, strict=True) if at == part] for part in set(parts)}
    order = tuple(dict.fromkeys(parts))
    audited = DataAudit(
        source=str(folder),
        form=listing.form,
        looked=looked,
        parts=parts,
        names=tuple(below(sample.path, listing.root) for sample in listing.samples),
        balance=balance(labels, parts, known=listing.labels),
        sizes={part: part_sizes for part in order if (part_sizes := sizes(by_part[part])) is not None},
        modes=dict(Counter(look.mode for look in looked.looks if not look.error).most_common()),
        odd=oddities(looked.looks),
        copies=copies,
        doubts=_doubts(opened, looked, parts=parts, root=listing.root, listener=listener) if opened else None,
        skipped=dict(listing.skipped),
        notes=(*listing.notes, *(opened.predictor.notes if opened else ())),
        seconds=time.monotonic() - began,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
    )
    if out is not None:
        write(audited, Path(out))
    return audited


def look(listing: Listing, *, listener: Listener) -> ScannedImages:
    """Decode and hash every file of a listing."""
    with timed(listener, LOOK):
        return look_at(listing.samples, listener=listener, step=LOOK)


def _parts(listing: Listing) -> tuple[str, ...]:
    """Of each sample, in the order of `listing.samples`."""
    parts = (("train", listing.train), ("val", listing.evaluation), ("all", listing.undivided))
    return tuple(name for name, samples in parts for _ in samples)


@dataclass(frozen=True, slots=True)
class _Opened:
    file: str
    predictor: Predictor
    classes: ClassMap


def _open(source: Source, listing: Listing, *, device: str | None, threads: int | None, listener: Listener) -> _Opened:
    predictor = open_predictor(source, device=device, threads=threads, listener=listener)
    if predictor.task not in (None, DEFAULT):
        raise InputError(
            "not-a-classifier",
            f"{source.checkpoint.name} is for the task {predictor.task}",
            why="a label is doubted where a classifier is sure of another class",
            hint="leave out --checkpoint, or give a classifier of these images",
        )
    names = predictor.class_names
    classes = class_map_for(listing, predictor.num_classes, path=source.class_map, class_names=names)
    for note in predictor.notes:
        listener(Warned("assumed", note))
    return _Opened(source.checkpoint.name, predictor, classes)


def _doubts(
    opened: _Opened, looked: ScannedImages, *, parts: tuple[str, ...], root: Path, listener: Listener
) -> LabelDoubts:
    """Each part has its own thresholds: a model is surer of the images it was trained on."""
    predictor, classes = opened.predictor, opened.classes
    whole = np.array(looked.whole, np.int64)
    samples = [looked.samples[place] for place in whole]
    labels = np.array([classes.indices[sample.label] for sample in samples], np.int64)
    paths = [sample.path for sample in samples]
    images = ImageSet(paths, labels.tolist(), preprocessing=predictor.preprocessing, root=root)
    logits = (
        predictor.predict(images, listener=listener) if len(images) else np.zeros((0, classes.num_classes), np.float32)
    )
    if logits.shape[1:] != (classes.num_classes,) or not np.isfinite(logits).all():
        raise StepError(
            "bad-answer",
            f"{predictor.runtime} answers with what are no numbers for {classes.num_classes} classes",
            hint="look at the model with edgecnn inspect",
        )
    right = find(DEFAULT).quality(Answers(logits, images)).value if len(images) else 0.0
    probabilities, _ = probabilities_of(logits)
    of_part = np.array([parts[place] for place in whole])
    suspicious: list[LabelDoubt] = []
    for part in dict.fromkeys(parts):
        inside = np.flatnonzero(of_part == part)
        doubts = doubtful(probabilities[inside], labels[inside].tolist())
        suspicious += [replace(doubt, place=int(whole[inside[doubt.place]])) for doubt in doubts]
    suspicious.sort(key=lambda doubt: doubt.label_confidence - doubt.confidence)
    return LabelDoubts(opened.file, predictor.runtime, classes.names, len(labels), right, tuple(suspicious))


def write(audit: Audit, folder: Path) -> None:
    """Write audit.json, audit.md and the contact sheets there is something for, copies.png and suspicious.png.

    Raises StepError where the disk refuses.
    """
    sheets = {COPIES: _copies_cells(audit), DOUBTS: _doubts_cells(audit)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sheets:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    titles = {
        COPIES: "Images that are there more than once, group by group",
        DOUBTS: "Labels the model disagrees with, clearest first",
    }
    for name in filter(sheets.get, sheets):
        write_sheet(sheets[name], folder / name, title=titles[name])
    write_atomically(folder / "audit.json", archive.dumps(json.to_dict(audit)))
    write_atomically(folder / "audit.md", markdown.render(document(audit)))


def _copies_cells(audit: Audit) -> list[SheetPicture]:
    """Group by group, those across parts or labels first."""
    telling = sorted(
        audit.copies,
        key=lambda group: (len({audit.parts[place] for place in group.places}) < 2, not group.exact, group.places),
    )
    cells: list[SheetPicture] = []
    for number, group in enumerate(telling, 1):
        kind = "same bytes" if group.exact else "mirrored" if group.mirrored else "looks the same"
        for place in sorted(group.places, key=lambda place: audit.parts[place] != "val")[:IN_A_GROUP]:
            sample = audit.looked.samples[place]
            cells.append(SheetPicture(sample.path, (f"{number}: {kind}", audit.names[place], sample.label)))
        if len(cells) >= ON_A_SHEET:
            break
    return cells


def _doubts_cells(audit: Audit) -> list[SheetPicture]:
    if audit.doubts is None:
        return []
    names = audit.doubts.class_names
    return [
        SheetPicture(
            audit.looked.samples[doubt.place].path,
            (
                f"label {names[doubt.label]}",
                f"or {names[doubt.suggested]}? {sure(doubt.confidence)}",
                audit.names[doubt.place],
            ),
        )
        for doubt in audit.doubts.doubts[:ON_A_SHEET]
    ]
