"""Ranges that belong to weights trained for their grid, and for which codes: they travel beside the file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.core.events import Listener, Warned
from edgecnn.quantize.options import QuantizeOptions
from edgecnn.quantize.ranges import Range, RangeTable

RANGES = "ranges.json"
OPTIONS = "trained.json"
DECIDING = ("weight_bits", "keep_float")
"""The options of `quantize` that the weights were trained for."""


def is_trained(source: Artifact) -> bool:
    """Whether the weights were trained for their grid: the variant says so."""
    return "qat" in source.variant.split("-")


def leave(folder: Path, ranges: RangeTable, options: QuantizeOptions) -> None:
    """Write beside the trained file what `ranges_of` reads."""
    (folder / RANGES).write_text(ranges.to_json())
    (folder / OPTIONS).write_text(json.dumps(_deciding(options)))


def ranges_of(
    source: Artifact, wanted: Iterable[str], *, options: QuantizeOptions, listener: Listener
) -> dict[str, Range]:
    """The ranges that came with `source` for the tensors in `wanted`; none where it was not trained for its grid.

    Tells of tensors that have none and will be calibrated, and of options that are not those of the training. Raises
    StepError when what lies beside the file is damaged.
    """
    if not is_trained(source):
        return {}
    try:
        known = RangeTable.from_json((source.path.parent / RANGES).read_text()).ranges
        told = json.loads((source.path.parent / OPTIONS).read_text())
        differing = {name: told[name] for name, now in _deciding(options).items() if told[name] != now}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StepError(
            "no-ranges",
            f"the ranges that {source.path.name} was trained for cannot be read",
            why=f"{type(error).__name__}: {error}",
            hint="run the command again with --fresh, or quantize a file that was not trained for its grid",
        ) from error
    found = {name: known[name] for name in wanted if name in known}
    if missing := [name for name in wanted if name not in found]:
        listener(_calibrated(missing))
    for name, was in differing.items():
        shown = f"`{name}: {_deciding(options)[name]}` of `quantize` is not what the weights were trained for: {was}"
        listener(Warned("not-as-trained", shown, f"give `qat` and `quantize` the same `{name}`"))
    return found


def _deciding(options: QuantizeOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", include=set(DECIDING))


def _calibrated(missing: list[str]) -> Warned:
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    message = f"{len(missing)} tensors are calibrated: no range was trained for them ({shown})"
    return Warned("untrained-ranges", message, "give `qat` and `quantize` the same options")
