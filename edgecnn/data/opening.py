"""Opening the user's images: which train, which calibrate, which evaluate, and the facts about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.paths import irregularity
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.units import first_few
from edgecnn.data.classes import ClassMap, LabelMap, LabelReader, OtherClasses, class_map_for, output_index
from edgecnn.data.folder import LAYOUT, list_folder
from edgecnn.data.images import ImageSet
from edgecnn.data.listing import EVALUATION_NAMES, Listing, Sample
from edgecnn.data.splits import (
    HELD_OUT,
    VALIDATION,
    are_classes,
    copies_note,
    counted_copies,
    distinct,
    first_shared,
    hold_out,
    round_robin,
)
from edgecnn.data.table import list_table

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
MOST_CLASSES = 100_000
"""A label beyond it is an identifier, not the index of an output."""
MIXED = (
    f"there is no val/ folder: {VALIDATION:.0%} of the images validate and the others are learned from; evaluate and "
    "optimize would then judge on some of those too: put images of their own under val/"
)


@dataclass(frozen=True, slots=True)
class ImageData:
    """Images by purpose; satisfies `core.stage.Data`.

    `calibration` is chosen from `training` and shares no file's content with `evaluation`. All three are ordered so
    that every prefix is spread over the classes. `training` is without labels where not all of its images have one;
    `evaluation` is None where nothing has.
    """

    calibration: ImageSet
    evaluation: ImageSet | None
    training: ImageSet
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    _facts: Mapping[str, Any]
    may_train: bool = True
    """False where all there is are images to judge on: a val folder without a train folder beside it."""

    def facts(self) -> dict[str, Any]:
        """Where the images come from, how many, how they were divided, and their digests: plain JSON values."""
        return dict(self._facts)


def open_data(
    path: Path,
    *,
    num_classes: int,
    preprocessing: Preprocessing,
    class_map: Path | None = None,
    class_names: Sequence[str] | None = None,
    calibration_images: int = 200,
    seed: int = 0,
    judges: bool = True,
    read_labels: LabelReader = class_map_for,
) -> ImageData:
    """Open an image folder or a CSV table for a network with `num_classes` outputs.

    `DIR/train` calibrates and `DIR/val` (or valid, validation, test) judges; undivided images are divided by `seed`,
    class by class. Images in `DIR/train` may be without classes; all may, where nobody `judges`. Every chosen file's
    header is checked. Of copies of one file one alone judges. Raises InputError: no such folder, no images, a single
    class, classes that do not fit the network, a broken image, or an image that would both calibrate and judge.
    """
    if calibration_images < 1:
        raise InputError(
            "no-calibration",
            f"{calibration_images} calibration images are too few",
            hint="set calibration.images in the recipe to 1 or more; 200 is usual",
        )
    listing = list_images(path, unlabelled=True)
    if listing.is_unlabelled and judges:
        listing = list_images(path)  # which says what is missing
    if listing.is_unlabelled:
        classes: LabelMap = ClassMap({}, num_classes, "no image has a class")
    else:
        if judges:
            require_classes(path, listing)
        classes = read_labels(listing, num_classes, path=class_map, class_names=class_names)
    sets = _Sets(listing, classes, preprocessing, seed)
    training, evaluation = sets.divide()
    calibration = training.take(calibration_images)
    calibration.check()
    listed = len(evaluation or ())
    if evaluation is not None:
        evaluation = evaluation.select(distinct(evaluation.file_digests()))
        evaluation.check()
        _validate_no_overlap(calibration, evaluation)
    copies = listed - len(evaluation or ())
    facts: dict[str, Any] = {
        "source": str(path),
        "form": listing.form,
        "origin": dict(listing.origin),
        "split": sets.how_divided,
        "seed": seed,
        "classes": classes.source,
        "class_map_sha256": sha256_of(class_map) if class_map is not None else None,
        "images": {"training": len(training), "calibration": len(calibration), "evaluation": len(evaluation or ())}
        | counted_copies(copies),
        "evaluation_classes": len(set(evaluation.labels or ())) if evaluation else 0,
        "skipped": dict(listing.skipped),
        "digests": {"calibration": calibration.digest, "evaluation": evaluation.digest if evaluation else None},
        "preprocessing": preprocessing.to_dict(),
        "notes": [
            *listing.notes,
            *copies_note(len(evaluation or ()), copies),
            *_notes(listing, classes, len(calibration), calibration_images),
        ],
    }
    alone = bool(listing.undivided) and path.is_dir() and _only_judges(path, listing)
    return ImageData(calibration, evaluation, training, preprocessing, classes.names, facts, may_train=not alone)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Images to learn from and images that tell how it goes. `doubts` are what a person should know of them first."""

    training: ImageSet
    validation: ImageSet
    class_names: tuple[str, ...]
    facts: Mapping[str, Any]
    doubts: tuple[str, ...]


def classes_in(path: Path) -> tuple[str, ...]:
    """The names of the outputs a network for these images needs: the classes sorted, or the numbers up to the largest
    label of a table whose labels are output indices. Raises InputError: no images, or a single class."""
    listing = list_images(path)
    require_classes(path, listing)
    numbers = [number for label in listing.labels if (number := output_index(label)) is not None]
    if listing.form != "table" or len(numbers) < len(listing.labels):
        return tuple(sorted(listing.labels))
    if max(numbers) >= MOST_CLASSES:
        raise InputError(
            "class-count",
            f"label {max(numbers)} in {path} would need as many outputs",
            why="labels that are whole numbers are output indices, counted from 0",
            hint="write names as labels, such as class-17, or number the classes from 0",
        )
    return tuple(map(str, range(max(numbers) + 1)))


def open_training(
    path: Path,
    *,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    seed: int = 0,
    read_labels: LabelReader = class_map_for,
) -> TrainingData:
    """Open an image folder or a CSV table to train on; `class_names` are in the order of the outputs.

    Divided as `open_data` divides, so that what judges there is never learned here. Every file's header is checked.
    Raises InputError: no images to train on, unknown classes, a broken image.
    """
    listing = list_images(path)
    require_classes(path, listing)
    if listing.undivided and path.is_dir() and _only_judges(path, listing):
        raise InputError(
            "no-training-images",
            f"{path} holds images to judge on, {listing.origin['undivided']}, and none to train on",
            hint=LAYOUT,
        )
    classes = read_labels(listing, len(class_names), class_names=class_names)
    sets = _Sets(listing, classes, preprocessing, seed)
    training, validation = sets.divide(VALIDATION)
    assert validation is not None
    training.check()
    validation.check()
    facts: dict[str, Any] = {
        "source": str(path),
        "form": listing.form,
        "split": sets.how_divided,
        "seed": seed,
        "images": {"training": len(training), "validation": len(validation)},
        "skipped": dict(listing.skipped),
        "digests": {"training": training.digest, "validation": validation.digest},
        "notes": list(listing.notes),
    }
    doubts = [*_doubts(training, validation, classes.names), *([MIXED] if listing.undivided else [])]
    return TrainingData(training, validation, classes.names, facts, tuple(doubts))


def _only_judges(path: Path, listing: Listing) -> bool:
    origin = Path(listing.origin["undivided"])
    return origin != path and origin.name.lower() in EVALUATION_NAMES


def _doubts(training: ImageSet, validation: ImageSet, names: Sequence[str]) -> Iterator[str]:
    labels = training.labels or ()
    counts = Counter(labels if are_classes(labels) else ())
    absent = [name for label, name in enumerate(names) if counts and label not in counts]
    single = [names[label] for label, count in sorted(counts.items()) if count == 1]
    if absent:
        yield f"no image to train on shows {first_few(absent)}: the network will never answer that"
    if single:
        yield f"one image to train on shows {first_few(single)}: the network will know that image, not the class"
    learned = set(training.file_digests())
    copies = [
        path for path, digest in zip(validation.paths, validation.file_digests(), strict=True) if digest in learned
    ]
    if copies:
        yield (
            f"{len(copies)} of {len(validation)} validation images are among the training images too, such as "
            f"{copies[0]}: the accuracy will be better than on new images"
        )


class _Sets:
    """Turns listed samples into ordered image sets that share one store of file digests."""

    def __init__(self, listing: Listing, classes: LabelMap, preprocessing: Preprocessing, seed: int) -> None:
        self._listing = listing
        self._classes = classes
        self._preprocessing = preprocessing
        self._seed = seed
        self._digests: dict[Path, str] = {}
        self.how_divided = "as the data says"

    def divide(self, share: float = HELD_OUT) -> tuple[ImageSet, ImageSet | None]:
        """(training, evaluation), which is that `share` of undivided images; no evaluation where none has a label."""
        if not self._listing.undivided:
            training = self._of(self._listing.train)
            # The order of what judges does not depend on the seed: the same folder is the same set in every run.
            return self._spread(training, self._seed), self._spread(self._of(self._listing.evaluation), 0)
        whole = self._of(self._listing.undivided)
        if self._listing.is_unlabelled:
            self.how_divided = "nothing judges: no image has a label"
            return self._spread(whole, self._seed), None
        kept, held = hold_out(whole.labels or (), whole.file_digests(), seed=self._seed, share=share)
        if not kept:
            raise InputError(
                "too-few-images",
                f"{len(whole)} images in {self._listing.root} are too few to both calibrate and judge",
                why="each class needs at least two different images to be divided",
                hint="add images, or put different ones under DIR/train/CLASS and DIR/val/CLASS",
            )
        of_each = " of each class" if are_classes(whole.labels or ()) else ""
        self.how_divided = f"made here: {share:.0%}{of_each} held out by seed {self._seed}"
        return self._spread(whole.select(kept), self._seed), self._spread(whole.select(held), 0)

    def _of(self, samples: Sequence[Sample]) -> ImageSet:
        labelled = all(sample.label for sample in samples)
        return ImageSet(
            [sample.path for sample in samples],
            [self._classes.indices[sample.label] for sample in samples] if labelled else None,
            preprocessing=self._preprocessing,
            root=self._listing.root,
            file_digests=self._digests,
        )

    def _spread(self, images: ImageSet, seed: int) -> ImageSet:
        names = [path.name for path in images.paths]
        return images.select(round_robin(images.labels or [0] * len(names), names, seed=seed))


def list_images(path: Path, *, unlabelled: bool = False) -> Listing:
    """What an image folder or a CSV table holds. Raises InputError where there is neither, or no images by class; with
    `unlabelled` those that do not judge may be without one."""
    if path.is_dir():
        return list_folder(path, unlabelled=unlabelled)
    if (kind := irregularity(path)) or not path.exists():
        message = f"the data {path} is {kind}" if kind else f"there is no data at {path}"
        raise InputError("no-data", message, hint=f"give --data DIR; {LAYOUT}")
    if path.suffix.lower() in ARCHIVES:
        unpack = f"unzip {path}" if path.suffix.lower() == ".zip" else f"tar -xf {path}"
        raise InputError(
            "data-is-archive",
            f"{path} is an archive",
            why="images are read from a folder, so that they can be looked at and checked one by one",
            hint=f"unpack it (`{unpack}`) and give the folder",
        )
    if path.suffix.lower() != ".csv":
        raise InputError(
            "no-data", f"{path} is neither a folder nor a .csv table", hint=f"give --data DIR or TABLE.csv; {LAYOUT}"
        )
    return list_table(path, unlabelled=unlabelled)


def require_classes(path: Path, listing: Listing) -> None:
    """Raise InputError unless there are two classes or more."""
    classes = {sample.label for sample in listing.samples if sample.label}
    if len(classes) < 2:
        raise InputError(
            "one-class",
            f"all images in {path} belong to one class, '{min(classes)}'",
            why="accuracy on a single class says nothing about telling classes apart",
            hint=LAYOUT,
        )


def _validate_no_overlap(calibration: ImageSet, evaluation: ImageSet) -> None:
    shared = first_shared(calibration.file_digests(), evaluation.file_digests())
    if shared is None:
        return
    pair = f"{calibration.paths[shared[0]]} and {evaluation.paths[shared[1]]}"
    raise InputError(
        "data-overlap",
        "the same image would calibrate and judge",
        why=f"{pair} have the same content",
        hint="remove one of the two, and look for other copies: a result on images seen before proves nothing",
    )


def _notes(listing: Listing, classes: LabelMap, calibration: int, wanted: int) -> list[str]:
    notes = []
    bare = sum(not sample.label for sample in listing.train)
    if 0 < bare < len(listing.train):
        notes.append(f"{bare} of {len(listing.train)} training images have no label: those of the others are not used")
    if listing.undivided and not listing.is_unlabelled:
        notes.append("if the checkpoint was trained on these images, its accuracy here is better than on new ones")
    if calibration < wanted:
        notes.append(f"{calibration} calibration images: fewer than the {wanted} asked for")
    if isinstance(classes, OtherClasses):
        notes.append(f"the classes of the data are {classes.source}; nothing here depends on them")
    in_order = sorted(classes.indices, key=lambda name: classes.indices[name])
    if classes.source.startswith("sorted") and all(name.isdecimal() for name in in_order) and len(in_order) > 10:
        first = ", ".join(in_order[:4])
        notes.append(f"class folders are sorted as text, as torchvision does ({first}, ...): not by number")
    return notes
