"""What a run starts from: the network, the images, and the preprocessing that ties them together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.models import LoadedModel, open_model
from edgecnn.core.errors import InputError
from edgecnn.core.events import Finished, Started, Tell, Warned, under
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images, LabelledImages
from edgecnn.core.store import digest_of
from edgecnn.data.listing import EVALUATION_NAMES
from edgecnn.config.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np

SMALL = 96
"""Data sets whose images all have one size of at most this many pixels are fed as they are (CIFAR, MNIST, digits)."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the user pointed at. `preprocessing` holds the fields given as flags."""

    checkpoint: Path
    architecture: str | None = None
    data: Path | None = None
    class_map: Path | None = None
    preprocessing: Mapping[str, Any] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Imagined:
    """Images made from the network's batch-norm statistics when they are first looked at; satisfies
    `core.stage.Images`. Their digest is of what decides them, so a finished run is found again without making any."""

    model: LoadedModel
    count: int
    preprocessing: Preprocessing
    seed: int
    tell: Tell

    @property
    def labels(self) -> None:
        return None

    @property
    def digest(self) -> str:
        return digest_of(["batch-norm", self.model.sha256, self.count, self.preprocessing.to_dict(), self.seed])

    def __len__(self) -> int:
        return self.count

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        return self._made.pixels(size)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return self._made.batches(size)

    def take(self, count: int) -> Images:
        return self if count >= self.count else self._made.take(count)

    @cached_property
    def _made(self) -> Images:
        from edgecnn.train.synthesis import images_from_batch_norm

        step, began = "make images", time.monotonic()
        self.tell(Started(step))
        made = images_from_batch_norm(
            self.model, count=self.count, preprocessing=self.preprocessing, seed=self.seed, tell=under(step, self.tell)
        )
        self.tell(Finished(step, time.monotonic() - began, note="; ".join(made.notes)))
        return made


@dataclass(frozen=True, slots=True)
class Given:
    """Images to calibrate on, to judge on and to learn from (None without --data); satisfies `core.stage.Data`."""

    calibration: Images
    evaluation: Images | None
    preprocessing: Preprocessing
    class_names: Sequence[str]
    facts: Mapping[str, Any]
    training: LabelledImages | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    model: LoadedModel
    data: Given
    preprocessing_source: str


def open_inputs(source: Source, recipe: Recipe, *, tell: Tell, judges: bool = True) -> Inputs:
    """Open the checkpoint and the images, of which some need classes where something `judges`. Raises InputError or
    MissingError before any work starts."""
    began = time.monotonic()
    tell(Started("read inputs"))
    model = open_model(source.checkpoint, architecture=source.architecture)
    preprocessing, origin = choose_preprocessing(model, source, recipe, tell=tell)
    model = model.with_preprocessing(preprocessing)
    data = _open_data(model, source, recipe, preprocessing=preprocessing, tell=tell, judges=judges)
    for note in (*model.notes, *data.facts.get("notes", ())):
        tell(Warned("assumed", note))
    tell(Finished("read inputs", time.monotonic() - began))
    return Inputs(model, data, origin)


def choose_preprocessing(
    model: LoadedModel, source: Source, recipe: Recipe, *, tell: Tell
) -> tuple[Preprocessing, str]:
    """Flags over recipe over checkpoint; guessed, with a warning, when nobody says."""
    stated = None
    if recipe.preprocessing is not None:
        stated = recipe.preprocessing, "recipe"
    elif model.preprocessing is not None:
        stated = model.preprocessing, model.preprocessing_source
    return settle_preprocessing(stated, model.input_shape, source, tell=tell)


def settle_preprocessing(
    stated: tuple[Preprocessing, str] | None, input_shape: tuple[int, int, int], source: Source, *, tell: Tell
) -> tuple[Preprocessing, str]:
    """Flags over what is `stated` and by whom; guessed from the input shape (C, H, W), with a warning, when nobody
    says."""
    flags = dict(source.preprocessing or {})
    base, origin = stated if stated is not None else (guess(input_shape, source.data), "guessed")
    if "crop" in flags and "resize" not in flags:
        flags["resize"] = max(flags["crop"])
    if flags:
        base, origin = replace(base, **flags), f"flags over {origin}"
    if "guessed" in origin and not {"mean", "std"} <= set(flags):
        tell(
            Warned(
                "preprocessing-guessed",
                f"{source.checkpoint.name} does not say how its images were prepared; taken: {in_words(base)}",
                "if that is not how it was trained, say so: --resize, --crop, --interpolation, --mean, --std, --color",
            )
        )
    return base, origin


def guess(input_shape: tuple[int, int, int], data: Path | None) -> Preprocessing:
    """ImageNet's numbers; small images of one size are left at their size."""
    channels = input_shape[0]
    color: dict[str, Any] = {} if channels == 3 else {"color": "L", "mean": (0.5,), "std": (0.5,)}
    size = _common_size(data) if data is not None else None
    if size is not None and max(size) <= SMALL:
        return Preprocessing(resize=None, crop=size, **color)
    return Preprocessing(crop=input_shape[1:], resize=round(max(input_shape[1:]) * 256 / 224), **color)


def refuse_among_images(out: Path, data: Path | None) -> None:
    """Raise InputError `out-in-data` where the next run would read the results as images of a class."""
    if data is None or not data.is_dir() or not out.resolve().is_relative_to(data.resolve()):
        return
    divided = any((data / name).is_dir() for name in ("train", *EVALUATION_NAMES))
    if divided and len(out.resolve().relative_to(data.resolve()).parts) == 1:
        return
    raise InputError(
        "out-in-data",
        f"the results would go among the images: {out}",
        why="the next run would take the folder for a class",
        hint="choose a folder elsewhere with --out",
    )


def in_words(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.crop
    resize = "" if preprocessing.resize is None else f"resize {preprocessing.resize} {preprocessing.interpolation}, "
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
    return f"{resize}crop {height}x{width}, mean {mean}, std {std}, {preprocessing.color}"


def _common_size(data: Path) -> tuple[int, int] | None:
    """(height, width) when the first images of the folder or table all have the same, else None."""
    from itertools import islice

    from PIL import Image

    from edgecnn.data.table import rows

    sizes = set()
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    if data.suffix.lower() == ".csv":
        paths = (data.parent / row["path"] for _, row in rows(data, unlabelled=True))
    else:
        paths = (path for path in data.rglob("*") if path.suffix.lower() in suffixes)
    for path in islice(paths, 16):
        try:
            with Image.open(path) as image:
                sizes.add((image.height, image.width))
        except OSError:
            continue
    return sizes.pop() if len(sizes) == 1 else None


def _open_data(
    model: LoadedModel, source: Source, recipe: Recipe, *, preprocessing: Preprocessing, tell: Tell, judges: bool
) -> Given:
    if source.data is None:
        return _without_data(model, source, recipe, preprocessing=preprocessing, tell=tell)
    from edgecnn.data import open_data

    found = open_data(
        source.data,
        num_classes=model.num_classes,
        preprocessing=preprocessing,
        class_map=source.class_map,
        class_names=model.class_names,
        calibration_images=recipe.calibration.images,
        seed=source.seed,
        judges=judges,
    )
    training = found.training if found.may_train else None
    return Given(found.calibration, found.evaluation, preprocessing, found.class_names, found.facts(), training)


def _without_data(
    model: LoadedModel, source: Source, recipe: Recipe, *, preprocessing: Preprocessing, tell: Tell
) -> Given:
    from edgecnn.train.synthesis import affordable_images

    tell(
        Warned(
            "no-data",
            "no images were given: calibrating on images made from batch-norm statistics, and nothing can be judged",
            "--data DIR with train/ and val/ folders of real images gives a verdict",
        )
    )
    count = affordable_images(model, count=min(16, recipe.calibration.images), preprocessing=preprocessing)
    images = Imagined(model, count, preprocessing, source.seed, tell)
    names = model.class_names or tuple(str(index) for index in range(model.num_classes))
    facts = {
        "source": "",
        "form": "synthetic",
        "split": "images whose batch-norm statistics match the network's (arXiv:2001.00281)",
        "calibration": {"images": len(images), "digest": images.digest},
        "evaluation": {"images": 0, "digest": ""},
    }
    return Given(images, None, preprocessing, names, facts)
