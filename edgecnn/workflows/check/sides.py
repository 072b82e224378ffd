"""Sides of a check: what a person named, as a file that answers images; and the images that both answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.units import count, first_few
from edgecnn.data.evaluation_set import EvaluationSet, evaluation_samples, open_evaluation_set
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import Listing
from edgecnn.data.preprocessing import Source
from edgecnn.data.splits import copies_note, counted_copies, distinct
from edgecnn.predict.predictor import Predictor, open_predictor
from edgecnn.report.check.model import CheckedModel
from edgecnn.tasks.task import Task, require_finite
from edgecnn.workflows.check.baseline_file import BaselineFile

MANIFEST = "manifest.json"


class Side(Protocol):
    """A model that answers images: the baseline or the candidate."""

    @property
    def model(self) -> CheckedModel: ...
    @property
    def width(self) -> int:
        """How many numbers it answers an image with."""
        ...

    @property
    def class_names(self) -> tuple[str, ...] | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def answers(self, images: ImageSet, task: Task, *, listener: Listener) -> np.ndarray:
        """Outputs (N, ...), float32. Raises StepError for what is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSide:
    """A file that is run."""

    model: CheckedModel
    predictor: Predictor

    @property
    def width(self) -> int:
        return self.predictor.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.predictor.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        return self.predictor.notes

    def answers(self, images: ImageSet, task: Task, *, listener: Listener) -> np.ndarray:
        """The images are prepared as this file says."""
        try:
            outputs = self.predictor.predict(images.prepared(self.predictor.preprocessing), listener=listener)
            task.validate(outputs, width=self.width, runtime=self.predictor.runtime)
            require_finite(outputs)
        except StepError as error:
            error.message = f"{self.model.name}: {error.message}"
            raise
        return outputs


@dataclass(frozen=True, slots=True)
class RecordedSide:
    """A baseline file: its answers are looked up by the images' content."""

    file: BaselineFile

    @property
    def model(self) -> CheckedModel:
        return self.file.model

    @property
    def width(self) -> int:
        return len(self.file.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.file.classes

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def answers(self, images: ImageSet, task: Task, *, listener: Listener) -> np.ndarray:
        row_of = {digest: row for row, (_, digest) in enumerate(self.file.images)}
        rows = [row_of[digest] for digest in images.file_digests()]
        try:
            return task.unpack({name: array[rows] for name, array in self.file.answers.items()}, width=self.width)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(
                "damaged-report",
                f"the baseline's answers are not those of the task {task.name}",
                why=str(error),
                hint="write it anew: edgecnn check MODEL --data DIR --save FILE",
            ) from error


def open_side(
    place: Path,
    *,
    model: str | None,
    weights: str | None,
    preprocessing: Mapping[str, Any],
    device: str | None,
    threads: int | None,
    listener: Listener,
) -> ModelSide:
    """Open a checkpoint, an exported file, a bundle or a finished run, which stands for the file that it bundled.

    `model` and `weights` are for checkpoints, `device` for exported files; the other kind takes none. Raises
    InputError.
    """
    file, stated = _file_of(place)
    source = Source(file, preprocessing={**stated, **preprocessing} or None)
    exported = file.suffix.lower() not in (".pth", ".pt", ".pt2", ".ckpt", ".bin", ".safetensors")
    if not exported:
        source = replace(source, architecture=model, weights=weights)
    predictor = open_predictor(source, device=device if exported else None, threads=threads, listener=listener)
    return ModelSide(_described(place, file, predictor), predictor)


def _described(place: Path, file: Path, predictor: Predictor) -> CheckedModel:
    facts = predictor.facts()
    return CheckedModel(
        name=file.name if place == file else f"{place.name}/{file.relative_to(place).as_posix()}",
        format=str(facts["format"]),
        architecture=str(facts["architecture"]),
        sha256=str(facts["sha256"]),
        runtime=predictor.runtime,
        size_bytes=file.stat().st_size,
        path=file,
        preprocessing=predictor.preprocessing.to_dict(),
    )


def _file_of(place: Path) -> tuple[Path, dict[str, Any]]:
    """The model file that `place` stands for, and the preprocessing that is written beside it."""
    if not place.is_dir():
        return place, {}
    bundle = place if (place / MANIFEST).is_file() else place / "bundle"
    try:
        manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        file = bundle / Path(manifest["model"]).name
        beside = Preprocessing.from_dict(json.loads((bundle / "preprocessing.json").read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        half = (place / ".store").is_dir()
        raise InputError(
            "no-bundle",
            f"{place} is a folder without a bundle"
            + (": that run is not finished, or bundled nothing" if half else ""),
            why=f"there is no {error.filename}",
            hint=f"name a file in {place / 'artifacts'}" if (place / "artifacts").is_dir() else "name a model file",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "damaged-bundle", f"{bundle} is damaged", why=str(error), hint="name the model file in it"
        ) from error
    return file, {name: value for name, value in beside.to_dict().items() if name in _FLAGS}


_FLAGS = ("resize", "crop", "interpolation", "mean", "std", "color")
"""Of a preprocessing, what flags can say; the rest is in the model file."""


def open_images(
    listing: Listing, candidate: ModelSide, task: Task, *, names: Sequence[str] | None, class_map: Path | None
) -> EvaluationSet:
    """The distinct images that judge; without labels where the data has none. `names` are the classes' in the order of
    the outputs, where they are known."""
    preprocessing = candidate.predictor.preprocessing
    if not listing.is_unlabelled:
        return open_evaluation_set(
            listing,
            num_classes=candidate.width,
            preprocessing=preprocessing,
            class_map=class_map,
            class_names=names,
            read_labels=task.read_labels,
        )
    samples = evaluation_samples(listing)
    images = ImageSet([sample.path for sample in samples], None, preprocessing=preprocessing, root=listing.root)
    images = images.select(distinct(images.file_digests()))
    images.check()
    copies = len(samples) - len(images)
    facts = {
        "source": str(listing.root),
        "form": listing.form,
        "images": len(images),
        **counted_copies(copies),
        "classes": "none: the answers are compared with each other",
        "skipped": dict(listing.skipped),
        "digest": images.digest,
    }
    shown = tuple(names or map(str, range(candidate.width)))
    return EvaluationSet(images, shown, facts, (*listing.notes, *copies_note(len(images), copies)))


def agreed_names(baseline: Side, candidate: Side) -> tuple[str, ...] | None:
    """The class names, in the order of the outputs, that the two state; None where neither does.

    Raises InputError where they have another number of outputs, or other names for them.
    """
    if baseline.width != candidate.width:
        raise InputError(
            "outputs-differ",
            f"{candidate.model.name} has {candidate.width} outputs, {baseline.model.name} has {baseline.width}",
            why="answers to different questions cannot be compared",
            hint="give two files of networks with the same classes",
        )
    before, after = baseline.class_names, candidate.class_names
    if before is not None and after is not None and tuple(before) != tuple(after):
        place = next(at for at, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
        raise InputError(
            "classes-differ",
            "the two name their classes otherwise",
            why=f"output {place} is {before[place]!r} in the baseline and {after[place]!r} in the candidate",
            hint="compare networks that were trained on the same classes, in one order",
        )
    return before or after


def validate_order(used: Sequence[str], stated: Sequence[str] | None) -> None:
    """Raise InputError where a class map puts the classes that a file states into another order."""
    if stated is not None and tuple(used) != tuple(stated) and sorted(used) == sorted(stated):
        place = next(at for at, pair in enumerate(zip(used, stated, strict=True)) if pair[0] != pair[1])
        raise InputError(
            "classes-differ",
            "the class map orders the classes otherwise than the baseline or the candidate does",
            why=f"output {place} is {used[place]!r} in the map and {stated[place]!r} there",
            hint="leave out --class-map: the names are known",
        )


def comparable(baseline: Side, images: ImageSet, labels: Sequence[str] | None) -> tuple[ImageSet, tuple[str, ...]]:
    """The images that both can answer, and what changed since a baseline file was written, named and counted. `labels`
    are the class names of the images. Raises InputError where none is left."""
    if not isinstance(baseline, RecordedSide):
        return images, ()
    digests, recorded = images.file_digests(), {digest: name for name, digest in baseline.file.images}
    common = [place for place, digest in enumerate(digests) if digest in recorded]
    if not common:
        raise InputError(
            "other-images",
            "none of these images is in the baseline file",
            why=f"it holds {count(len(recorded), 'image')} of {baseline.file.data.get('source', 'unknown origin')}",
            hint="give the data that it was written with, or: edgecnn check MODEL --data DIR --save FILE",
        )
    here = set(digests)
    added = [images.ids[place] for place, digest in enumerate(digests) if digest not in recorded]
    removed = [name for digest, name in recorded.items() if digest not in here]
    notes = [
        f"{what}: {count(len(names), 'image')} ({first_few(names)})"
        for names, what in (
            (added, "not in the baseline file, and not judged on"),
            (removed, "in the baseline file, but not in the data"),
        )
        if names
    ]
    if labels is not None and baseline.file.labels is not None:
        before = dict(zip((digest for _, digest in baseline.file.images), baseline.file.labels, strict=True))
        moved = [images.ids[place] for place in common if before[digests[place]] != labels[place]]
        if moved:
            notes.append(
                f"labelled otherwise than in the baseline file: {count(len(moved), 'image')} ({first_few(moved)})"
            )
    return images.select(common), tuple(notes)
