"""Evaluation set: labelled images that a finished model is evaluated on, and no image meant for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.classes import LabelReader, class_map_for
from edgecnn.data.folder import LAYOUT, SUFFIXES
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import Listing, Sample
from edgecnn.data.opening import list_images, require_classes
from edgecnn.data.splits import copies_note, counted_copies, distinct
from edgecnn.data.tensors import TensorImages, open_judging


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Labelled images, the names of the outputs, and where both come from as plain JSON values."""

    images: ImageSet | TensorImages
    class_names: tuple[str, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def list_labelled(path: Path) -> Listing:
    """What there is to judge on. Raises InputError where the images have no labels, or there is one class alone."""
    if path.is_dir() and _lies_flat(path):
        raise InputError(
            "no-labels",
            f"the images in {path} have no labels, and without them nothing can be scored",
            why="a label is the name of the folder an image lies in, or a column of a CSV table",
            hint=f"{LAYOUT}; to compare two models without labels: edgecnn optimize",
        )
    listing = list_images(path)
    require_classes(path, listing)
    return listing


def evaluation_samples(listing: Listing) -> tuple[Sample, ...]:
    """The files that are for judging; all where the data is not divided."""
    return listing.evaluation or listing.undivided or listing.train


def open_evaluation_set(
    listing: Listing,
    *,
    num_classes: int,
    preprocessing: Preprocessing,
    class_map: Path | None = None,
    class_names: Sequence[str] | None = None,
    read_labels: LabelReader = class_map_for,
) -> EvaluationSet:
    """The images of `DIR/val`, or all of an undivided folder or table; of copies of one file the first. Raises
    InputError for classes that do not fit the network and for a file that is no image."""
    classes = read_labels(listing, num_classes, path=class_map, class_names=class_names)
    samples = evaluation_samples(listing)
    images = ImageSet(
        [sample.path for sample in samples],
        [classes.indices[sample.label] for sample in samples],
        preprocessing=preprocessing,
        root=listing.root,
    )
    images = images.select(distinct(images.file_digests()))
    copies = len(samples) - len(images)
    images.check()
    origin = str(listing.origin.get("evaluation") or listing.origin.get("undivided") or listing.root)
    facts: dict[str, Any] = {
        "source": origin,
        "form": listing.form,
        "images": len(images),
        **counted_copies(copies),
        "classes": classes.source,
        "class_map_sha256": sha256_of(class_map) if class_map is not None else None,
        "skipped": dict(listing.skipped),
        "digest": images.digest,
    }
    return EvaluationSet(images, classes.names, facts, (*_notes(listing), *copies_note(len(images), copies)))


def open_tensor_set(
    data: Any, *, num_classes: int, stated: Mapping[str, Any], class_names: Sequence[str] | None = None
) -> EvaluationSet:
    """Tensors in memory to judge on; labels are output indices. Raises InputError for what cannot be read."""
    listed = open_judging(data, num_classes=num_classes, stated=stated)
    images = listed.select(distinct(listed.ids))
    copies = len(listed) - len(images)
    facts: dict[str, Any] = {
        "source": "tensors in memory",
        "form": "tensors",
        "images": len(images),
        **counted_copies(copies),
        "classes": "the labels are output indices",
        "class_map_sha256": None,
        "skipped": {},
        "digest": images.digest,
    }
    names = tuple(class_names or map(str, range(num_classes)))
    return EvaluationSet(images, names, facts, tuple(copies_note(len(images), copies)))


def _lies_flat(folder: Path) -> bool:
    """Whether images lie in the folder, and no folder beside them."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return False
    return any(entry.suffix.lower() in SUFFIXES for entry in entries) and not any(entry.is_dir() for entry in entries)


def _notes(listing: Listing) -> list[str]:
    notes = list(listing.notes)
    if not listing.evaluation and Path(listing.origin.get("undivided", "")).name.lower() == "train":
        notes.append("these are the images of a train folder: a model that was trained on them looks better here")
    return notes
