"""Tensors as a data set: images in memory, as the network takes them, with their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.splits import HELD_OUT, copies_note, counted_copies, distinct, first_shared, hold_out, round_robin

FORM = "(images, labels): a float tensor (N, C, H, W) or (C, H, W), and whole numbers from 0"


@dataclass(frozen=True, slots=True)
class TensorImages:
    """Images in memory, float32 (N, C, H, W) as the network takes them; satisfies `core.stage.Images`.

    `ids` are the sha256 of each image; `preprocessing` names the mean and std that the tensors were normalised with:
    0 and 1 where nobody says.
    """

    arrays: np.ndarray
    labels: tuple[int, ...] | None
    ids: tuple[str, ...]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def digest(self) -> str:
        """sha256 over contents, labels and preprocessing, in order."""
        parts = [self.preprocessing.to_dict(), self.ids, self.labels]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def file_digests(self) -> list[str]:
        """sha256 of each image, in order; tensors have no files."""
        return list(self.ids)

    def take(self, count: int) -> TensorImages:
        """The first `count` images."""
        return self.select(range(min(max(count, 0), len(self))))

    def select(self, indices: Iterable[int]) -> TensorImages:
        """The images at `indices`, in that order."""
        chosen = list(indices)
        labels = None if self.labels is None else tuple(self.labels[index] for index in chosen)
        return TensorImages(self.arrays[chosen], labels, tuple(self.ids[index] for index in chosen), self.preprocessing)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, float32 NHWC, which normalising turns into the tensors again."""
        mean, std = (np.asarray(part, np.float32) for part in (self.preprocessing.mean, self.preprocessing.std))
        for batch in self.batches(size):
            yield (batch.transpose(0, 2, 3, 1) * std + mean) * np.float32(255)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, float32 NCHW."""
        for start in range(0, len(self), size):
            yield self.arrays[start : start + size]


@dataclass(frozen=True, slots=True)
class TensorData:
    """Tensors to calibrate on and tensors to judge on, never the same; `facts` are plain JSON values."""

    calibration: TensorImages
    evaluation: TensorImages | None
    facts: Mapping[str, Any]


def open_tensors(
    data: Any, *, num_classes: int, stated: Mapping[str, Any], calibration_images: int, seed: int
) -> TensorData:
    """Read an iterable of (images, labels), such as a DataLoader, once, into memory.

    A mapping has one for `train`, which calibrates, and one for `val`, which judges; a single one is divided by `seed`,
    class by class. Of copies of one image one alone judges. `stated` are the mean and std that the tensors were
    normalised with. Raises InputError for what cannot be read, labels that are no outputs, or an image that would both
    calibrate and judge.
    """
    if isinstance(data, Mapping):
        training = _read(_training(data), num_classes, stated)
        evaluation = _read(data["val"], num_classes, stated) if "val" in data else None
        divided = "as the data says"
    else:
        whole = _read(data, num_classes, stated)
        if whole.labels is None:
            raise _unreadable("there are no labels: images without them only calibrate, as data={'train': ...}")
        kept, held = hold_out(whole.labels, whole.ids, seed=seed)
        training, evaluation = whole.select(kept), whole.select(held)
        divided = f"made here: {HELD_OUT:.0%} of each class held out by seed {seed}"
    if not len(training) or (evaluation is not None and evaluation.labels is None):
        raise _unreadable("there is nothing to calibrate on" if not len(training) else "what judges needs labels")
    calibration = _spread(training, seed).take(calibration_images)
    listed = 0 if evaluation is None else len(evaluation)
    if evaluation is not None:
        evaluation = _spread(evaluation.select(distinct(evaluation.ids)), 0)
        shared = first_shared(calibration.ids, evaluation.ids)
        if shared is not None:
            raise InputError(
                "data-overlap",
                "the same image would calibrate and judge",
                why=f"image {shared[0]} of train and image {shared[1]} of val are the same",
                hint="keep them apart: a result on images seen before proves nothing",
            )
    count = 0 if evaluation is None else len(evaluation)
    facts = {
        "source": "tensors in memory",
        "form": "tensors",
        "split": divided,
        "seed": seed,
        "classes": "the labels are output indices",
        "images": {"training": len(training), "calibration": len(calibration), "evaluation": count}
        | counted_copies(listed - count),
        "evaluation_classes": len(set(evaluation.labels or ())) if evaluation is not None else 0,
        "digests": {"calibration": calibration.digest, "evaluation": evaluation.digest if evaluation else None},
        "preprocessing": training.preprocessing.to_dict(),
        "notes": copies_note(count, listed - count),
    }
    return TensorData(calibration, evaluation, facts)


def open_judging(data: Any, *, num_classes: int, stated: Mapping[str, Any]) -> TensorImages:
    """The labelled images that judge a finished model: `val` of a mapping, else all. Raises InputError."""
    if isinstance(data, Mapping) and "val" not in data:
        raise _unreadable("there is no part val, which judges")
    images = _read(data["val"] if isinstance(data, Mapping) else data, num_classes, stated)
    if images.labels is None:
        raise _unreadable("what judges needs labels")
    return images


def shape_of(data: Any) -> tuple[int, int, int]:
    """(C, H, W) of the first image. Raises InputError."""
    part = _training(data) if isinstance(data, Mapping) else data
    if iter(part) is part:
        raise _unreadable("it can be read once only", "give a list or a DataLoader, not a generator")
    first = next(iter(part), None)
    if first is None:
        raise _unreadable("there are none")
    images, _ = _item(first)
    channels, height, width = images.shape[1:]
    return channels, height, width


def _training(data: Mapping[Any, Any]) -> Any:
    """The part that calibrates."""
    if set(data) - {"train", "val"} or "train" not in data:
        raise _unreadable(f"the parts are {', '.join(map(str, data)) or 'none'}, not train and val")
    return data["train"]


def _read(items: Iterable[Any], num_classes: int, stated: Mapping[str, Any]) -> TensorImages:
    batches, labels = [], list[int]()
    for item in items:
        images, item_labels = _item(item)
        batches.append(images)
        labels += item_labels
    if not batches or len({batch.shape[1:] for batch in batches}) > 1:
        raise _unreadable("there are none" if not batches else "the images are not all of one shape")
    arrays = np.concatenate(batches)
    if not np.isfinite(arrays).all():
        raise _unreadable("the images hold NaN or infinity")
    if labels and (len(labels) != len(arrays) or not all(0 <= label < num_classes for label in labels)):
        raise _unreadable(f"each image needs one label from 0 to {num_classes - 1}, the network's outputs")
    ids = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in arrays)
    return TensorImages(arrays, tuple(labels) if labels else None, ids, preprocessing_of(arrays.shape[1:], stated))


def preprocessing_of(shape: Sequence[int], stated: Mapping[str, Any]) -> Preprocessing:
    """What leads from 8-bit pixels to tensors of `shape` (C, H, W): the normalisation that was stated, or none."""
    channels, height, width = shape
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels, "color": "RGB" if channels == 3 else "L"}
    return Preprocessing.from_dict({**plain, **stated, "crop": (height, width), "resize": None})


def _item(item: Any) -> tuple[np.ndarray, list[int]]:
    """A batch as float32 (N, C, H, W) and its labels; none for images alone."""
    images, labels = item if isinstance(item, list | tuple) and len(item) == 2 else (item, ())
    try:
        array = np.ascontiguousarray(_array(images), np.float32)
        numbers = np.atleast_1d(_array(labels))
    except (TypeError, ValueError) as error:
        raise _unreadable(str(error)) from error
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3) or (numbers.size and numbers.dtype.kind not in "iu"):
        raise _unreadable(f"images of shape {list(array.shape)} and labels of type {numbers.dtype}")
    return array, [int(number) for number in numbers]


def _array(value: Any) -> Any:
    """A tensor of torch without its graph and on the CPU; anything else as numpy reads it."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _spread(images: TensorImages, seed: int) -> TensorImages:
    return images.select(round_robin(images.labels or [0] * len(images), images.ids, seed=seed))


def _unreadable(why: str, hint: str = f"give an iterable of {FORM}") -> InputError:
    return InputError("bad-tensors", "cannot read the images in memory", why=why, hint=hint)
