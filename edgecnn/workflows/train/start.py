"""Start of a training: images, a network for their classes, and the preprocessing that ties them together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import Finished, Listener, Started, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import require_folder
from edgecnn.core.units import count
from edgecnn.data.opening import TrainingData, open_training
from edgecnn.data.preprocessing import channels_of, guess, in_words
from edgecnn.models.building import BuiltNetwork, build, with_training_flags
from edgecnn.models.cost import smallest_feature_map
from edgecnn.tasks.task import DEFAULT, find
from edgecnn.train.optimizer import frozen
from edgecnn.train.task_training import training_of, validate_settings
from edgecnn.workflows.inputs import refuse_among_images
from edgecnn.workflows.train.request import TrainRequest

LEAST_SIDE = 2
"""Feature maps of one pixel carry no place any more."""


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """Everything but the training itself. `origin` says where the preprocessing comes from."""

    built: BuiltNetwork
    data: TrainingData
    preprocessing: Preprocessing
    origin: str


def prepare(request: TrainRequest, *, listener: Listener) -> TrainingInputs:
    """Read the images, build the network. Raises EdgecnnError before any work starts; tells what is doubtful."""
    began = time.monotonic()
    require_folder(request.out)
    listener(Started("read images"))
    task = find(request.task)
    training = training_of(task)
    validate_settings(task, request.settings)
    refuse_among_images(request.out, request.data)
    classes = training.output_names(request.data)
    built = network(request, classes)
    preprocessing, origin = choose(request, built, listener=listener)
    names = _in_order_of(built, classes)
    data = open_training(
        request.data,
        preprocessing=preprocessing,
        class_names=names,
        seed=request.seed,
        read_labels=task.read_labels,
    )
    for doubt in data.doubts:
        listener(Warned("doubtful-images", doubt, f"edgecnn data audit {request.data}"))
    if "made here" in data.facts["split"]:
        half = (request.data / "train").is_dir()
        what = f"{request.data} has no val/, so train/" if half else f"{request.data}"
        listener(
            Warned(
                "divided",
                f"{what} is divided here: {len(data.training)} images train, {len(data.validation)} judge",
                f"put images under {'' if half else 'train/CLASS and '}val/CLASS to choose which do what",
            )
        )
    _look_at_size(built, preprocessing, listener=listener)
    if built.taken is not None:
        listener(Finished("read weights", 0.0, note=str(built.taken)))
    outputs = f"{len(names)} classes" if task.name == DEFAULT else count(len(names), "output")
    note = f"{len(data.training)} to train on, {len(data.validation)} to judge on, {outputs}"
    listener(Finished("read images", time.monotonic() - began, note=note))
    return TrainingInputs(built, data, preprocessing, origin)


def network(request: TrainRequest, classes: tuple[str, ...]) -> BuiltNetwork:
    """A fresh network; the same seed gives the same weights, and torch's global random state is as before.

    Raises EdgecnnError, also where the settings freeze what the network does not have.
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            built = build(
                request.architecture,
                num_classes=len(classes),
                class_names=classes,
                pretrained=request.pretrained,
                dropout=request.settings.dropout,
                stochastic_depth=request.settings.stochastic_depth,
                size=request.preprocessing.get("crop"),
                channels=channels_of(request.preprocessing),
            )
    except EdgecnnError as error:
        raise with_training_flags(error) from error.__cause__
    _look_at_frozen(built, request.settings.freeze)
    return built


def _look_at_frozen(built: BuiltNetwork, names: tuple[str, ...]) -> None:
    """Raises InputError for a name that is no module of the network, and for no regular expression."""
    try:
        with frozen(built.module, names):
            pass
    except InputError as error:
        error.hint = (
            error.hint or "write a module's name, or a regular expression over whole names: --set 'freeze=[layer.*]'"
        )
        raise


def _in_order_of(built: BuiltNetwork, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs keep the order of the file they come from, where it names the same classes."""
    taken = built.taken
    if taken is None or taken.fresh or taken.class_names is None:
        return classes
    return taken.class_names


def choose(request: TrainRequest, built: BuiltNetwork, *, listener: Listener) -> tuple[Preprocessing, str]:
    """Flags over the pretrained file's over the images' own size, where that is small and the weights are fresh, over
    the library's for this architecture; guessed where nobody says."""
    flags: dict[str, Any] = dict(request.preprocessing)
    guessed = guess(built.input_shape, request.data)
    small = guessed.resize is None
    base, origin = built.preprocessing, built.preprocessing_source
    if origin == "checkpoint" and base is not None:
        origin = "the pretrained file"
    elif base is None or (small and built.taken is None):
        base, origin = guessed, "the images' own size" if small else "guessed"
    elif small and not {"crop", "resize"} & set(flags):
        listener(_enlarged(guessed.crop, base.crop, built))
    if "crop" in flags and "resize" not in flags:
        flags["resize"] = max(flags["crop"])
    if flags:
        base, origin = base.changed(**flags), f"flags over {origin}"
    return base, origin


def _enlarged(size: tuple[int, int], crop: tuple[int, int], built: BuiltNetwork) -> Warned:
    at = f"{size[0]}x{size[1]}"
    return Warned(
        "small-images",
        f"images of {at} are enlarged to {crop[0]}x{crop[1]}, at which {built.architecture} was trained",
        f"--resize none --crop {at} trains much faster, and often as well",
    )


def _look_at_size(built: BuiltNetwork, preprocessing: Preprocessing, *, listener: Listener) -> None:
    """Tell where images are small for the network. Raises InputError `channels-differ` where it takes other colours,
    StepError when it does not run on images of this size."""
    shape = (preprocessing.channels, *preprocessing.crop)
    if preprocessing.channels != built.input_shape[0]:
        raise InputError(
            "channels-differ",
            f"the preprocessing gives {shape[0]} channel(s) and {built.architecture} takes {built.input_shape[0]}",
            hint=f"--color {'RGB' if built.input_shape[0] == 3 else 'L'}",
        )
    smallest = smallest_feature_map(built.module, shape)
    if smallest is not None and min(smallest) < LEAST_SIDE:
        larger = 2 * max(preprocessing.crop)
        listener(
            Warned(
                "small-images",
                f"{built.architecture} shrinks images of {shape[1]}x{shape[2]} to {smallest[0]}x{smallest[1]}: "
                "it is made for larger ones, and will do less well than it could",
                f"--crop {larger} enlarges them; or a network for small images: "
                "--arch edgecnn.train.resnet_small:resnet_small",
            )
        )


def described(inputs: TrainingInputs, request: TrainRequest) -> Mapping[str, Any]:
    """What the run is made of, as JSON values: for train.json and for trackers."""
    built, taken = inputs.built, inputs.built.taken
    return {
        **({} if request.task == DEFAULT else {"task": request.task}),
        "architecture": built.architecture,
        "source_files": [list(item) for item in built.source_files],
        "pretrained": None if taken is None else {"file": str(taken.file), "sha256": taken.sha256, "taken": str(taken)},
        "preprocessing": inputs.preprocessing.to_dict(),
        "preprocessing_source": inputs.origin,
        "images": in_words(inputs.preprocessing),
        "data": dict(inputs.data.facts),
        "class_names": list(inputs.data.class_names),
        "settings": request.settings.model_dump(mode="json"),
        "seed": request.seed,
    }


def at_home(path: Path) -> str:
    """A path as a person types it: relative to the current folder where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
