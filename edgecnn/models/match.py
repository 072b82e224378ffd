"""Matching weights to one architecture by names and shapes, loading them into it, and running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.units import first_few
from edgecnn.models import catalog
from edgecnn.models.prefixes import named_as
from edgecnn.models.reference import quiet_stdout
from edgecnn.models.registry import Entry, Form, Shapes, form_for
from edgecnn.models.versions import Versions, load_state
from edgecnn.models.weights import Weights


@dataclass(frozen=True, slots=True)
class Difference:
    """How weights differ from what a network wants: keys it lacks, keys it does not know, shapes that are not equal."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        parts = [
            (self.missing, "missing from the checkpoint"),
            (self.unexpected, "not in the network"),
            (self.reshaped, "of another shape"),
        ]
        return "; ".join(f"{len(keys)} {what}: {first_few(keys)}" for keys, what in parts if keys)


def difference(wanted: Shapes, given: Shapes) -> Difference:
    return Difference(
        missing=tuple(key for key in wanted if key not in given),
        unexpected=tuple(key for key in given if key not in wanted),
        reshaped=tuple(
            f"{key} {_by(given[key])}, the network has {_by(wanted[key])}"
            for key in wanted
            if key in given and given[key] != wanted[key]
        ),
    )


def other_classes(wanted: Shapes, given: Shapes) -> int | None:
    """The number of classes of the weights, when nothing but that differs from the network."""
    differ = [key for key in wanted if given.get(key) != wanted[key]]
    if set(wanted) != set(given) or any(not given[key] or given[key][1:] != wanted[key][1:] for key in differ):
        return None
    counts = {given[key][0] for key in differ}
    return counts.pop() if len(counts) == 1 else None


def with_keys_of(module: nn.Module, weights: Weights) -> dict[str, torch.Tensor]:
    """The file's weights under the names that the network has for them."""
    return named_as(weights, [*module.state_dict()]).weights.state


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


@dataclass(frozen=True, slots=True)
class Fit:
    """A registered architecture the weights fit exactly."""

    entry: Entry
    form: Form


def fit(entry: Entry, given: Shapes) -> Fit | Difference:
    """Whether weights of these shapes are those of `entry`, with whatever number of classes they have."""
    form, plan = form_for(entry, given)
    found = difference(plan, given)
    return found or Fit(entry, form)


def load_into(module: nn.Module, state: Mapping[str, torch.Tensor], versions: Versions | None = None) -> nn.Module:
    """The module with these weights. Only counters of batches may be absent on either side."""
    known = module.state_dict()
    wanted = {key: value for key, value in state.items() if key in known}
    load_state(module, {**{k: v for k, v in known.items() if k not in wanted}, **wanted}, versions)
    return module.float().eval().requires_grad_(False)


def run(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Logits of a batch, (N, classes). Raises StepError when the network fails, InputError when it is no classifier."""
    try:
        with torch.inference_mode(), quiet_stdout():
            output = module(image)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise StepError(
            "forward-failed",
            f"the network does not run on an input of {_by(tuple(image.shape))}",
            why=lines[0] if lines else type(error).__name__,
            hint="give its input size: --crop HEIGHTxWIDTH",
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or output.shape[0] != image.shape[0]:
        got = _by(tuple(output.shape)) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        raise InputError(
            "not-a-classifier",
            "the network does not give one score per class",
            why=f"for {image.shape[0]} image(s) it gives {got}; a classifier gives {image.shape[0]} x classes",
            hint="wrap the network in a factory whose module returns the logits alone",
        )
    return output


def mismatch(name: str, found: Difference, given: Shapes) -> InputError:
    """The error for a `--model` the weights do not fit."""
    better = [entry for entry in catalog.lookup(given) if str(entry) != name]
    hint = "name the architecture it was trained as, with its arguments: --model 'path/to/file.py:factory(width=2)'"
    if better:
        hint = f"the weights are those of --model {better[0]}"
    return InputError(
        "architecture-mismatch", f"the checkpoint's weights are not those of {name}", why=str(found), hint=hint
    )
