"""Departure: the first layer of a network whose values are not among those that its exported file computes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.stage import Images, Model
from edgecnn.formats.registry import format_named
from edgecnn.models.steps import OperatorStep, record

ALIKE = 0.01
"""Values differ by less than this share of their length: 40 dB."""


def departing_layer(artifact: Artifact, model: Model, images: Images, *, worst: int) -> str:
    """The first layer of `model` that the FP32 file computes otherwise, on image number `worst`: its path, operator and
    line. Empty where none can be named. The file is run on this host."""
    kernel = format_named(artifact.format).activations
    if not kernel:
        return ""
    image = next(batch for place, batch in enumerate(images.take(worst + 1).batches(1)) if place == worst)
    try:
        written: Mapping[str, np.ndarray] = plugins.resolve(kernel)(artifact.path, image)
    except EdgecnnError:
        return ""
    steps, _ = record(model.module(), torch.from_numpy(image))
    departure = first_departure(steps, written)
    return str(departure) if departure else ""


def first_departure(steps: list[OperatorStep], written: Mapping[str, np.ndarray]) -> OperatorStep | None:
    """The first step that computes from the image what is in no tensor of the file, and leads to none that is.

    A file has no tensor for what its runtime fuses, such as a convolution before its batch norm: but then it has one
    for what comes of it.
    """
    by_size: dict[int, list[tuple[float, np.ndarray]]] = {}
    for values in written.values():
        flat = values.reshape(-1).astype(np.float64)
        by_size.setdefault(flat.size, []).append((float(np.linalg.norm(flat)), flat))
    from_image = {-1}
    for place, step in enumerate(steps):
        if step.sources & from_image:
            from_image.add(place)
    right = {place for place, step in enumerate(steps) if _is_written(step, by_size)}
    for place in range(len(steps) - 1, -1, -1):
        if place in right:
            right |= steps[place].sources
    leads = {len(steps) - 1}
    for place in range(len(steps) - 1, -1, -1):
        if place in leads:
            leads |= steps[place].sources
    wrong = (place for place in range(len(steps)) if place in from_image & leads and place not in right)
    return next((steps[place] for place in wrong), None)


def _is_written(step: OperatorStep, by_size: Mapping[int, list[tuple[float, np.ndarray]]]) -> bool:
    if step.values is None:
        return False
    flat = step.values.numpy().reshape(-1).astype(np.float64)
    length = float(np.linalg.norm(flat))
    return any(
        abs(length - other_length) <= ALIKE * length and np.linalg.norm(flat - other) <= ALIKE * length
        for other_length, other in by_size.get(flat.size, ())
    )
