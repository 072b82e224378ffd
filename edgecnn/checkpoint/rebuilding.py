"""A pruned network from its file: the whole architecture, narrowed by the plan, then filled with the weights."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn  # noqa: TID253

from edgecnn.checkpoint import match, reference
from edgecnn.checkpoint.registry import Entry, build_empty, form_for, shapes
from edgecnn.checkpoint.structure import LARGEST, Plan, is_layer, narrowed
from edgecnn.checkpoint.weights import Weights
from edgecnn.core.errors import InputError


def rebuild(
    weights: Weights, plan: Plan, wanted: reference.Factory | list[Entry] | None
) -> tuple[Entry | None, str, nn.Module, str]:
    """(registered entry if it is one, what identifies the code, the network with its weights, a note for the reader).

    Raises InputError where the plan or the weights do not fit `wanted`, and what building it raises.
    """
    if wanted is None:
        raise InputError(
            "architecture-unknown",
            "the checkpoint is pruned and does not say of which architecture",
            hint="name the one it was pruned from: --model NAME",
        )
    given = shapes(weights.state)
    first: InputError | None = None
    for entry, identity, whole in _whole(wanted, weights):
        name = str(entry or wanted)
        try:
            network = narrowed(whole, plan)
            differs = match.difference(shapes(network.state_dict()), given)
            if differs:
                raise match.mismatch(name, differs, given)
        except InputError as error:
            first = first or error
            continue
        count, every = len(plan.layers(whole)), sum(map(is_layer, whole.modules()))
        note = f"pruned: {count} of the {every} layers have fewer outputs than in {name}"
        return entry, identity, match.load_into(network, weights.state), note
    assert first is not None
    raise first


def _whole(wanted: reference.Factory | list[Entry], weights: Weights) -> Iterator[tuple[Entry | None, str, nn.Module]]:
    """Networks it may have been pruned from, with weights that mean nothing."""
    if not isinstance(wanted, reference.Factory):
        for entry in wanted:
            form, _ = form_for(entry, shapes(weights.state))  # never pruned: the head tells classes, the stem channels
            yield entry, f"{entry} {form}", build_empty(entry, form)
        return
    yield None, wanted.identity(), reference.make(wanted)
    classes = weights.metadata.get("num_classes")
    if type(classes) is int and 0 < classes < LARGEST and reference.takes_classes(wanted):
        yield None, wanted.identity(), reference.make(wanted, num_classes=classes)
