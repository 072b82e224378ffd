"""Tensor SQNR: how much of each tensor of a float file is left in its INT8 file, and which layers destroy theirs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgecnn.core.events import Listener, Warned
from edgecnn.core.stage import Images
from edgecnn.quantize.observe import Runner

FILE = "sqnr.json"
FLOOR_DB = 10.0
"""Below, a tensor is destroyed: a tenth of its power is noise."""
OWN_LOSS_DB = 3.0
"""Lost between what a layer reads and what it writes: half of the noise behind it is its own. A tensor that comes to
less than `FLOOR_DB` bit by bit is destroyed by no layer in particular."""
IMAGES = 8
UPSTREAM = 2
"""Layers before the destroying one that are named with it: what it reads may be too coarse for it already."""


@dataclass(frozen=True, slots=True)
class TensorFlow:
    """A layer with the tensors that it reads and writes, by their names in the float file."""

    layer: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DestroyingLayer:
    """A layer whose result is below `FLOOR_DB`, though what it reads is not; `upstream` are the layers that write that,
    nearest first."""

    layer: str
    sqnr_db: float
    upstream: tuple[str, ...]


def tensor_sqnr(before: Runner, after: Runner, images: Images) -> dict[str, float]:
    """SQNR in dB by name of the tensors that both runners give, over the first `IMAGES` images; infinite where nothing
    was lost. Tensors that are zero or not finite are left out."""
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for image in islice(images.batches(1), IMAGES):
        expected, found = before(image), after(image)
        for name in expected:
            if name not in found or found[name].size != expected[name].size:
                continue
            values = expected[name].astype(np.float64).reshape(-1)
            difference = values - found[name].reshape(-1)
            signal[name] = signal.get(name, 0.0) + float(np.dot(values, values))
            noise[name] = noise.get(name, 0.0) + float(np.dot(difference, difference))
    usable = [
        name for name, power in signal.items() if power > 0 and math.isfinite(power) and math.isfinite(noise[name])
    ]
    return {name: 10 * math.log10(signal[name] / noise[name]) if noise[name] else math.inf for name in usable}


def destroying_layers(sqnr: Mapping[str, float], layers: Sequence[TensorFlow]) -> list[DestroyingLayer]:
    """The layers that destroy their tensor, in the order of the graph."""
    writers = {name: layer for layer in layers for name in layer.writes}
    found = []
    for layer in layers:
        left = min((sqnr[name] for name in layer.writes if name in sqnr), default=math.inf)
        read = min((sqnr[name] for name in layer.reads if name in sqnr), default=math.inf)
        if left < FLOOR_DB <= read and read - left >= OWN_LOSS_DB:
            found.append(DestroyingLayer(layer.layer, left, _upstream(layer, writers)))
    return found


def _upstream(layer: TensorFlow, writers: Mapping[str, TensorFlow]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    nearest = [layer]
    for _ in range(UPSTREAM):
        nearest = [writers[name] for each in nearest for name in each.reads if name in writers]
        names.update(dict.fromkeys(each.layer for each in nearest))
    return tuple(names)


def announce(found: Iterable[DestroyingLayer], folder: Path, listener: Listener) -> None:
    """Name the layers to the listener and write them beside the INT8 file, where `destroying_groups` finds them."""
    listed = list(found)
    (folder / FILE).write_text(json.dumps([[each.layer, each.sqnr_db, each.upstream] for each in listed]))
    for each in listed[:3]:
        listener(
            Warned(
                "destroyed-tensor",
                f"in INT8 only {each.sqnr_db:.1f} dB are left of what {each.layer} computes, and below {FLOOR_DB:g} dB "
                "a tensor is destroyed",
                f"in the recipe, leave it in float: `- quantize: {{keep_float: [{each.layer}]}}`; a ladder with "
                "`keep-float` tries that first",
            )
        )


def destroying_groups(file: Path) -> list[tuple[str, ...]]:
    """The layers that are worth leaving in float together, for the INT8 `file`: all that destroy their tensor, then the
    same with those before them. Empty where there are none or nothing is known."""
    try:
        listed = json.loads((file.parent / FILE).read_text())
        alone = tuple(str(layer) for layer, _, _ in listed)
        upstream = tuple(str(name) for _, _, before in listed for name in before)
    except (OSError, ValueError, TypeError):
        return []
    whole = tuple(dict.fromkeys((*alone, *upstream)))
    return list(dict.fromkeys(filter(None, (alone, whole))))
