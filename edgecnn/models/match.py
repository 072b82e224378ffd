"""Matching weights to architectures by names and shapes, and where those are equal, by what the networks compute."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError, install_hint
from edgecnn.core.units import first_few
from edgecnn.models import catalog, registry, statistics
from edgecnn.models.reference import quiet_stdout
from edgecnn.models.registry import Entry, Form, Shapes, build_empty, form_for, has_timm, shapes, without_training_heads
from edgecnn.models.weights import Weights

# Equal networks from two libraries add in another order; a different pooling or epsilon shows in the third digit.
_EQUAL = 1e-4
_UNLISTED_SECONDS = 20.0


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
    """The file's weights, under the prefix that was taken off where the network has it itself."""
    known = set(module.state_dict())
    prefixed = {weights.prefix + key: value for key, value in weights.state.items()}
    as_named = len(known & set(prefixed)) > len(known & set(weights.state))
    return prefixed if weights.prefix and as_named else weights.state


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


def load_into(module: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The module with these weights. Only counters of batches may be absent on either side."""
    known = module.state_dict()
    wanted = {key: value for key, value in state.items() if key in known}
    module.load_state_dict({**{k: v for k, v in known.items() if k not in wanted}, **wanted})
    return module.float().eval().requires_grad_(False)


def find(weights: Weights) -> tuple[Fit, tuple[str, ...]]:
    """The registered architecture of bare weights, and notes on how it was settled.

    Raises InputError when none fits (with the nearest and what differs) or several that compute different things do.
    """
    given = shapes(weights.state)
    listed = catalog.lookup(given)
    fits = _fits([entry for entry in listed if entry.name in registry.names(entry.library)], given)
    if not fits:
        if any(entry.library == "timm" for entry in listed) and not has_timm():
            raise MissingError(
                "missing-timm",
                f"these weights are those of {listed[0]}, and timm is not installed",
                why="their names and shapes are in the index of timm's architectures",
                hint=install_hint("timm"),
            )
        fits = _fits(_unlisted(given), given)
    if not fits:
        raise _nothing_fits(given)
    return settle(fits, weights.state, listed)


def _fits(entries: Iterable[Entry], given: Shapes) -> list[Fit]:
    found = []
    for entry in entries:
        try:
            outcome = fit(entry, given)
        except (EdgecnnError, NotImplementedError):
            continue
        if isinstance(outcome, Fit):
            found.append(outcome)
    return found


def _unlisted(given: Shapes) -> Iterable[Entry]:
    """What the installed libraries have and the index has not, until the time is up."""
    deadline = time.monotonic() + _UNLISTED_SECONDS
    return itertools.takewhile(lambda _: time.monotonic() < deadline, catalog.unlisted())


def settle(fits: list[Fit], state: Mapping[str, torch.Tensor], listed: list[Entry]) -> tuple[Fit, tuple[str, ...]]:
    """Of networks that take the weights, the first if all compute the same, else the one their statistics belong to.

    Raises InputError where the statistics do not tell.
    """
    absent = [str(entry) for entry in listed if entry.library == "timm" and not has_timm()]
    notes = (
        [f"{first_few(absent)} would take these weights too; timm is not installed, so it was not compared"]
        if absent
        else []
    )
    if len(fits) == 1:
        return fits[0], tuple(notes)
    groups = _same_outputs(fits, state)
    if len(groups) == 1:
        others = [str(item.entry) for item in groups[0][1:]]
        notes.append(f"{first_few(others)} computes the same from these weights; {groups[0][0].entry} was taken")
        return groups[0][0], tuple(notes)
    distances = [_distance(group[0], state) for group in groups]
    winner = statistics.clear_winner(distances)
    if winner is None:
        raise _ambiguous(groups)
    measured = ", ".join(f"{group[0].entry} {far:.3f}" for group, far in zip(groups, distances, strict=True))
    notes.append(
        f"{len(groups)} architectures take these weights; {groups[winner][0].entry} was taken, because the stored "
        f"batch-norm statistics are those of photographs in it (distance: {measured}). --model says otherwise"
    )
    return groups[winner][0], tuple(notes)


def _distance(item: Fit, state: Mapping[str, torch.Tensor]) -> float | None:
    if item.form.in_channels != 3:
        return None
    return statistics.distance(load_into(build_empty(item.entry, item.form), state))


def _ambiguous(groups: list[list[Fit]]) -> InputError:
    names = [" = ".join(str(item.entry) for item in group[:3]) for group in groups]
    return InputError(
        "ambiguous-architecture",
        f"{len(groups)} architectures have weights of these names and shapes, and compute different things",
        why=first_few(names, 6),
        hint="say which: " + " or ".join(f"--model {group[0].entry}" for group in groups[:4]),
    )


def _same_outputs(fits: list[Fit], state: Mapping[str, torch.Tensor]) -> list[list[Fit]]:
    groups: list[tuple[torch.Tensor, list[Fit]]] = []
    for item in fits:
        module = load_into(build_empty(item.entry, item.form), state)
        answer = _answer(module, item.form.in_channels)
        for reference, group in groups:
            scale = float(reference.abs().max().clamp_min(1e-12))
            if reference.shape == answer.shape and float((reference - answer).abs().max()) <= _EQUAL * scale:
                group.append(item)
                break
        else:
            groups.append((answer, [item]))
    return [group for _, group in groups]


def _answer(module: nn.Module, channels: int) -> torch.Tensor:
    noise = torch.randn(1, channels, 224, 224, generator=torch.Generator().manual_seed(0))
    for size in (224, 299, 384):
        image = nn.functional.interpolate(noise, size=(size, size), mode="bilinear")
        try:
            return run(module, image)
        except StepError:
            continue
    return torch.full((1, 1), float("nan"))


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


def _nothing_fits(given: Shapes) -> InputError:
    near = _near(given)
    why = "nearest: " + "\n".join(f"{name}: {found}" for name, found in near)
    code = "" if has_timm() else f", or {install_hint('timm')} for more architectures"
    return InputError(
        "unknown-architecture",
        "these weights belong to no architecture of torchvision or timm",
        why=why if near else f"no known architecture has keys like {first_few(without_training_heads(given), 4)}",
        hint="give the code that builds the network: --model path/to/file.py:factory" + code,
    )


def _near(given: Shapes, most: int = 3) -> list[tuple[str, Difference]]:
    """Architectures that share a third of the key names at least, the nearest first; one of equally near ones."""
    compared: dict[Difference, str] = {}
    for entry in catalog.nearest(given, most):
        try:
            outcome = fit(entry, given)
        except (EdgecnnError, NotImplementedError):
            continue
        if isinstance(outcome, Difference) and len(outcome.unexpected) * 3 < len(given) * 2:
            compared.setdefault(outcome, str(entry))
    return [(name, found) for found, name in sorted(compared.items(), key=lambda item: len(item[0]))[:most]]
