"""Recognition of a bare checkpoint: which architecture of torchvision or timm its weights are those of.

Names and shapes tell most. Networks that differ only in operations without weights (blurred pooling, another padding)
share both: then the operators in a .pt2 file, or the batch-norm statistics, say which one was trained. Where nothing
does, the plain architecture is taken and the others are named as rivals, for images with labels to decide.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError, install_hint
from edgecnn.core.units import first_few
from edgecnn.models import catalog, graph_operators, registry, statistics
from edgecnn.models.library_names import has_timm
from edgecnn.models.match import Difference, Fit, fit, load_into, run
from edgecnn.models.prefixes import FilePart, views
from edgecnn.models.registry import Entry, Shapes, build_empty, shapes, without_training_heads
from edgecnn.models.weights import Weights

# Equal networks from two libraries add in another order; a different pooling or epsilon shows in the third digit.
_EQUAL = 1e-4
_UNLISTED_SECONDS = 20.0
EXAMPLE = """for example --model net.py:net, with this in net.py:
    from torchvision.models import resnet18
    from torch import nn
    def net(num_classes=10):
        model = resnet18()
        model.fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(512, num_classes))
        return model
More: docs/opening.md"""


@dataclass(frozen=True, slots=True)
class Recognition:
    """The architecture taken with the `weights` of the file that are its own, how that was settled, and the `rivals`
    that take the same weights and compute something else: empty where the file itself rules them out."""

    fit: Fit
    weights: Weights
    notes: tuple[str, ...] = ()
    rivals: tuple[Entry, ...] = ()


def find(weights: Weights) -> Recognition:
    """The registered architecture of bare weights. Raises InputError when none fits, with the nearest and what differs;
    MissingError where only timm has it, and timm is not installed."""
    looked_up = [(view, catalog.lookup(shapes(view.weights.state))) for view in views(weights)]
    parts = [(view, listed) for view, listed in looked_up if listed]
    parts = [part for part in parts if not _leads_on(part[0])]
    first = [part for part in parts if not part[0].is_second] or parts or [(FilePart(weights), [])]
    view, listed = first[0]
    given = shapes(view.weights.state)
    fits = _fits([entry for entry in listed if registry.is_installed(entry)], given)
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
    found = settle(fits, view.weights, listed)
    others = tuple(other.prefix for other, _ in parts if other.prefix not in ("", view.prefix))
    return replace(found, notes=(*replace(view, others=others).notes, *found.notes))


def _leads_on(view: FilePart) -> bool:
    """Whether a linear layer outside takes what the network gives: then the network is only a part."""
    given = shapes(view.weights.state)
    head = [shape[0] for shape in given.values() if len(shape) == 2]
    outside = {key: value for key, value in view.outside.items() if value.ndim == 2}
    return bool(head) and any(value.shape[1] == head[-1] for value in outside.values())


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


def settle(fits: list[Fit], weights: Weights, listed: list[Entry]) -> Recognition:
    """Of networks that take the weights, the one that the file shows to be trained; the first where nothing does."""
    absent = [str(entry) for entry in listed if entry.library == "timm" and not has_timm()]
    note = f"{first_few(absent)} would take these weights too; timm is not installed, so it was not compared"
    notes = (note,) if absent else ()
    if len(fits) == 1:
        return Recognition(fits[0], weights, notes)
    groups = _same_outputs(fits, weights)
    if len(groups) == 1:
        others = first_few(str(item.entry) for item in groups[0][1:])
        note = f"{others} computes the same from these weights; {groups[0][0].entry} was taken"
        return Recognition(groups[0][0], weights, (*notes, note))
    firsts = [group[0] for group in groups]
    chosen, why, certain = _evidence(firsts, weights)
    others = first_few(str(item.entry) for item in firsts if item is not firsts[chosen])
    note = f"{others} would take these weights too, and compute something else; {firsts[chosen].entry} was taken, {why}"
    rivals = () if certain else tuple(item.entry for item in firsts if item is not firsts[chosen])
    return Recognition(firsts[chosen], weights, (*notes, note), rivals)


def _evidence(fits: list[Fit], weights: Weights) -> tuple[int, str, bool]:
    """(position of the network to take, why, whether the file itself rules out the others)."""
    if weights.graph is not None:
        modules = [_loaded(item, weights) for item in fits]
        position = graph_operators.the_one(weights.graph, modules, [item.form.in_channels for item in fits])
        if position is not None:
            return position, "because its operators are those of the graph in the file", True
    distances = [_distance(item, weights) for item in fits]
    winner = statistics.clear_winner(distances)
    if winner is not None:
        measured = ", ".join(f"{item.entry} {far:.3f}" for item, far in zip(fits, distances, strict=True))
        why = f"because the stored batch-norm statistics are those of photographs in it (distance: {measured})"
        return winner, f"{why}. --model says otherwise", False
    return 0, "the plain one: neither names, shapes nor batch-norm statistics tell. --model says otherwise", False


def _loaded(item: Fit, weights: Weights) -> nn.Module:
    return load_into(build_empty(item.entry, item.form), weights.state, weights.versions)


def _distance(item: Fit, weights: Weights) -> float | None:
    return statistics.distance(_loaded(item, weights)) if item.form.in_channels == 3 else None


def _same_outputs(fits: list[Fit], weights: Weights) -> list[list[Fit]]:
    groups: list[tuple[torch.Tensor, list[Fit]]] = []
    for item in fits:
        answer = _answer(_loaded(item, weights), item.form.in_channels)
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


def _nothing_fits(given: Shapes) -> InputError:
    near = _near(given)
    why = "nearest: " + "\n".join(f"{name}: {found}" for name, found in near)
    code = "" if has_timm() else f", or {install_hint('timm')} for more architectures"
    return InputError(
        "unknown-architecture",
        "these weights belong to no architecture of torchvision or timm",
        why=why if near else f"no known architecture has keys like {first_few(without_training_heads(given), 4)}",
        hint=f"give the code that builds the network: --model path/to/file.py:factory{code}\n{EXAMPLE}",
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
