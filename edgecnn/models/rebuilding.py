"""Rebuilding a pruned network from its file: the whole architecture, narrowed by the plan, filled with the weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.models import facts, match, reference
from edgecnn.models.pruned import LARGEST, PLAN_KEY, PruningPlan, bad_plan, is_layer, narrowed
from edgecnn.models.registry import TRAINING_HEADS, Entry, Shapes, build_empty, form_for, shapes
from edgecnn.models.weights import Weights, require_classes

Architecture = reference.Factory | list[Entry]
"""What a person or a file names: code, or entries of the libraries."""


def plan_in(weights: Weights) -> PruningPlan | None:
    """The plan of a pruned file; None for another. Raises InputError `bad-plan`."""
    return PruningPlan.from_dict(weights.metadata[PLAN_KEY]) if PLAN_KEY in weights.metadata else None


def rebuild(
    weights: Weights, plan: PruningPlan, wanted: Architecture | None
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
    whys = []
    for entry, identity, whole in _whole(wanted, weights):
        try:
            network = narrowed(whole, plan)
        except InputError as error:
            whys.append(error.why)
            continue
        state = match.with_keys_of(network, weights)
        there, given = shapes(network.state_dict()), shapes(state)
        differs = match.difference(there, given)
        if differs:
            whys.append(str(differs))
            if not contradiction(plan, weights) and _is_head(
                there, given, made_for=weights.metadata.get("num_classes")
            ):
                require_classes(weights, match.other_classes(there, given) or 0)
            continue
        count, every = len(plan.layers(whole)), sum(map(is_layer, whole.modules()))
        note = f"pruned: {count} of the {every} layers have fewer outputs than in {entry or wanted}"
        return entry, identity, match.load_into(network, state, weights.versions), note
    raise refusal(weights, plan, wanted, why=whys[0])


def for_other_classes(
    whole: nn.Module, plan: PruningPlan, given: tuple[Weights, Architecture], *, head: frozenset[str]
) -> tuple[nn.Module, PruningPlan]:
    """The network with the channels of the plan, which it carries from now on, and the plan as it holds for it.

    `whole` is built for classes of its own and without the heads that only training has; `head` are the keys whose
    shape follows the classes. Raises InputError where plan and weights, but for the outputs of the head, are not of it.
    """
    weights, wanted = given
    kept = {path: item for path, item in plan.kept.items() if not path.startswith(TRAINING_HEADS)}
    plan = PruningPlan(kept).for_head({key.rpartition(".")[0] for key in head})
    try:
        module = narrowed(whole, plan)
    except InputError as error:
        raise refusal(weights, plan, wanted, why=error.why) from error
    there, here = shapes(match.with_keys_of(module, weights)), shapes(module.state_dict())
    differs = match.difference(*({key: s[key in head :] for key, s in of.items()} for of in (here, there)))
    missing = tuple(key for key in differs.missing if key not in head)
    if missing or differs.reshaped:
        raise refusal(weights, plan, wanted, why=str(replace(differs, missing=missing, unexpected=())))
    return module, plan


def contradiction(plan: PruningPlan, weights: Weights) -> str:
    """Where a file's plan and its weights speak of different numbers of channels; empty where nowhere."""
    given = shapes(weights.state)
    return plan.contradiction({weights.prefix + key: shape for key, shape in given.items()} | given)


def _is_head(wanted: Shapes, given: Shapes, *, made_for: object) -> bool:
    """Whether nothing differs but the outputs of layers that have one for each of the classes the file speaks of."""
    differ = [key for key in wanted if given.get(key) != wanted[key]]
    return match.other_classes(wanted, given) is not None and all(wanted[key][0] == made_for for key in differ)


def refusal(weights: Weights, plan: PruningPlan, wanted: Architecture, *, why: str) -> InputError:
    """The error for a pruned file that makes no network of `wanted`: its plan is damaged, or it is of another one."""
    conflict = contradiction(plan, weights)
    stated = facts.stated_architecture(weights.metadata)
    known = None if stated is None else _parsed(stated)
    if conflict or (known is not None and reference.same(known, wanted)):
        return bad_plan(conflict or why)
    name = wanted if isinstance(wanted, reference.Factory) else wanted[0]
    if stated is None:
        return InputError(
            "architecture-mismatch",
            f"the checkpoint is pruned, and neither its plan nor its weights are those of {name}",
            why=why,
            hint="name the architecture it was pruned from, with its arguments: --model NAME",
        )
    return InputError(
        "architecture-mismatch",
        f"the checkpoint was pruned from {stated}, and {name} was asked for",
        why="its plan counts the channels of the network it was pruned from" + (f"; here {why}" if why else ""),
        hint=f"name that one: --model {shlex.quote(stated)}",
    )


def stated_of(wanted: list[Entry], weights: Weights, plan: PruningPlan) -> list[Entry]:
    """Of the entries a name may mean, the one a pruned file is of. Raises InputError where it is of another."""
    stated = facts.stated_architecture(weights.metadata)
    if stated is None:
        return wanted
    known = _parsed(stated)
    if not isinstance(known, list):
        return wanted  # code may build what a library has: whether it fits will show
    entries = [entry for entry in wanted if entry in known]
    if not entries:
        raise refusal(weights, plan, wanted, why="")
    return entries


def _parsed(stated: str) -> Architecture | None:
    """What a file calls its architecture; None where nobody knows it here."""
    try:
        return reference.parse(stated)
    except EdgecnnError:
        return None


def _whole(wanted: Architecture, weights: Weights) -> Iterator[tuple[Entry | None, str, nn.Module]]:
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
