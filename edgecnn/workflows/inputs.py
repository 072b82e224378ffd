"""Inputs of a run: the network, the images, and the preprocessing that ties them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecnn.config.recipe import Recipe
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned, timed
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images, LabelledImages
from edgecnn.data.classes import OF_ANOTHER, LabelReader, known_names, regardless
from edgecnn.data.listing import EVALUATION_NAMES
from edgecnn.data.preprocessing import Source, settle_preprocessing
from edgecnn.data.tensors import open_tensors
from edgecnn.models import LoadedModel, open_model
from edgecnn.models.one_image import validate_one_image
from edgecnn.models.open import in_memory
from edgecnn.predict.rivals import decided
from edgecnn.tasks.task import DEFAULT, Task, find
from edgecnn.train.synthetic import LazySyntheticImages


@dataclass(frozen=True, slots=True)
class RunData:
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
    data: RunData
    preprocessing_source: str
    task: Task


def open_inputs(
    source: Source, recipe: Recipe, *, listener: Listener, judges: bool = True, reads_labels: bool = True
) -> Inputs:
    """Open the checkpoint and the images, of which some need classes where something `judges`; they have to be the
    network's unless nothing `reads_labels`. Raises InputError or MissingError before any work starts."""
    task = find(source.task)
    with timed(listener, "read inputs"):
        model = _open_network(source, recipe.preprocessing)
        preprocessing, origin = choose_preprocessing(model, source, recipe, listener=listener)
        model = model.with_preprocessing(preprocessing)
        validate_one_image(model, listener=listener)
        data = _open_data(
            model,
            source,
            recipe,
            task.read_labels if reads_labels else regardless(task.read_labels),
            preprocessing=preprocessing,
            listener=listener,
            judges=judges,
        )
        notes = list(model.notes)
        ours = not str(data.facts.get("classes", "")).startswith(OF_ANOTHER)
        if model.rivals and task.name == DEFAULT and ours and (labelled := _labelled(data)) is not None:
            model, note = decided(model, source, labelled)
            notes.append(note)
        names = known_names(data.class_names)
        if names is not None and len(names) == model.num_classes:
            model = replace(model, class_names=names)
        for note in (*notes, *data.facts.get("notes", ())):
            listener(Warned("assumed", note))
    return Inputs(model, data, origin, task)


def _labelled(data: RunData) -> Images | None:
    """Images that say which of several networks was trained; those that judge only where there are no others."""
    found = (item for item in (data.training, data.evaluation) if item is not None and item.labels is not None)
    return next(found, None)


def _open_network(source: Source, stated: Preprocessing | None) -> LoadedModel:
    """The network, on the input that flags or the recipe state: it may accept no other."""
    size = source.stated_size or (stated.crop if stated else None)
    channels = source.stated_channels or (stated.channels if stated else None)
    if source.network is not None:
        return in_memory(source.network, size, channels, classifies=source.task == DEFAULT)
    return open_model(
        source.checkpoint,
        architecture=source.architecture,
        weights=source.weights,
        size=size,
        channels=channels,
        classifies=source.task == DEFAULT,
    )


def choose_preprocessing(
    model: LoadedModel, source: Source, recipe: Recipe, *, listener: Listener
) -> tuple[Preprocessing, str]:
    """Flags over recipe over checkpoint; guessed, with a warning, when nobody says."""
    stated = None
    if recipe.preprocessing is not None:
        stated = recipe.preprocessing, "recipe"
    elif model.preprocessing is not None:
        stated = model.preprocessing, model.preprocessing_source
    return settle_preprocessing(stated, model.input_shape, source, listener=listener)


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


def _open_data(
    model: LoadedModel,
    source: Source,
    recipe: Recipe,
    read_labels: LabelReader,
    *,
    preprocessing: Preprocessing,
    listener: Listener,
    judges: bool,
) -> RunData:
    if source.tensors is not None:
        return _from_tensors(model, source, recipe, preprocessing)
    if source.data is None:
        return _without_data(model, source, recipe, preprocessing=preprocessing, listener=listener)
    from edgecnn.data import open_data

    data = open_data(
        source.data,
        num_classes=model.num_classes,
        preprocessing=preprocessing,
        class_map=source.class_map,
        class_names=model.class_names,
        calibration_images=recipe.calibration.images,
        seed=source.seed,
        judges=judges,
        read_labels=read_labels,
    )
    training = data.training if data.may_train else None
    return RunData(data.calibration, data.evaluation, preprocessing, data.class_names, data.facts(), training)


def _from_tensors(model: LoadedModel, source: Source, recipe: Recipe, preprocessing: Preprocessing) -> RunData:
    tensors = open_tensors(
        source.tensors,
        num_classes=model.num_classes,
        stated=source.preprocessing or {},
        calibration_images=recipe.calibration.images,
        seed=source.seed,
    )
    names = model.class_names or tuple(str(index) for index in range(model.num_classes))
    facts = dict(tensors.facts)
    if not {"mean", "std"} <= set(source.preprocessing or {}):
        note = (
            "nobody said how the tensors were normalised, so the bundle feeds pixels divided by 255: give mean and std"
        )
        facts["notes"] = [note, *facts["notes"]]
    return RunData(tensors.calibration, tensors.evaluation, preprocessing, names, facts)


def _without_data(
    model: LoadedModel, source: Source, recipe: Recipe, *, preprocessing: Preprocessing, listener: Listener
) -> RunData:
    from edgecnn.train.synthesis import affordable_images

    listener(
        Warned(
            "no-data",
            "no images were given: calibrating on images made from batch-norm statistics, and nothing can be judged",
            "--data DIR with train/ and val/ folders of real images gives a verdict",
        )
    )
    count = affordable_images(model, count=min(16, recipe.calibration.images), preprocessing=preprocessing)
    images = LazySyntheticImages(model, count, preprocessing, source.seed, listener)
    names = model.class_names or tuple(str(index) for index in range(model.num_classes))
    facts = {
        "source": "",
        "form": "synthetic",
        "split": "images whose batch-norm statistics match the network's (arXiv:2001.00281)",
        "calibration": {"images": len(images), "digest": images.digest},
        "evaluation": {"images": 0, "digest": ""},
    }
    return RunData(images, None, preprocessing, names, facts)
