"""Pruning algorithm: find prunable groups, choose widths, remove channels, and check that the network still works."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, lcm
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.compress.prune import amount
from edgecnn.compress.prune.amount import Countable, Unreachable
from edgecnn.compress.prune.channel_blocks import portions
from edgecnn.compress.prune.group import DependencyGroup, Prunable, PrunableGroup, Pruned, Ranking
from edgecnn.compress.prune.importance import importances
from edgecnn.compress.prune.reconstruction import reconstruct
from edgecnn.compress.prune.trial import examine, lost, smaller_example, usable
from edgecnn.core import events
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener, Progress
from edgecnn.core.quantities import Amount
from edgecnn.models.pruned import PruningPlan, is_layer, narrowed, sizes

__all__ = ["PrunableGroup", "Prunable", "Pruned", "Ranking", "PruneTarget", "groups", "prune", "shrink"]

Between = Callable[[nn.Module, int, int], None]
"""Called after each round with the network, the round's number from 1, and how many there are: to train it."""


@dataclass(frozen=True, slots=True)
class PruneTarget:
    """How much of a cost stays. `rounds` prune in as many equal parts; `isomorphic` ranks channels among layers of one
    pattern only."""

    cost: Countable
    amount: Amount
    rounds: int = 1
    isomorphic: bool = False


def groups(
    module: nn.Module,
    example: Tensor,
    *,
    ranking: Ranking | None = None,
    usable_groups: Sequence[DependencyGroup] | None = None,
    listener: Listener = events.ignore,
) -> Prunable:
    """Find what can be pruned together, by trial on copies, with the importance of each channel.

    `module` is on the CPU and stays as it is; `example` is an input of shape (1, C, H, W); `usable_groups` are those
    that an earlier call said can be pruned. Raises StepError `cannot-trace`, InputError `no-loss`.
    """
    ranking = ranking or Ranking()
    module.eval()
    reasons = usable(module, example, seed=ranking.seed) if usable_groups is None else dict.fromkeys(usable_groups, "")
    reasons = {item: why or _spared(item, ranking) for item, why in reasons.items()}
    usable_now = [item for item, why in reasons.items() if not why]
    prunable: list[PrunableGroup] = []
    for item, scores in zip(usable_now, importances(module, usable_now, ranking, listener=listener), strict=True):
        if scores is None:
            reasons[item] = f"nothing in it ranks its channels by {ranking.importance}"
            continue
        group = _group(item, scores, module, ranking)
        if len(group.widths) > 1:
            prunable.append(group)
        else:
            reasons[item] = _too_narrow(group, ranking)
    unpruned = {path: why for item, why in reasons.items() for path in item.layers if why}
    named = {path for item in reasons for path in item.layers}
    layers = _layers(module)
    unpruned.update({path: _unseen(module, path) for path in layers if path not in named})
    return Prunable(tuple(prunable), {path: unpruned[path] for path in layers if path in unpruned})


def shrink(
    module: nn.Module,
    example: Tensor,
    widths: Mapping[str, int],
    *,
    ranking: Ranking | None = None,
    prunable: Prunable | None = None,
) -> Pruned:
    """A copy with so many channels left in each root layer; layers not named stay whole. With importance
    `reconstruction` the layers that read fewer channels get weights that make up for it.

    `prunable` is what `groups` found for this module. Raises InputError `no-such-group` or `bad-width`, StepError when
    the smaller network does not work.
    """
    ranking = ranking or Ranking()
    prunable = prunable or groups(module, example, ranking=ranking)
    known = {group.root: group for group in prunable.groups}
    for root, width in widths.items():
        if root not in known:
            why = prunable.unpruned.get(root, "it is no root layer of this network")
            raise InputError("no-such-group", f"'{root}' cannot be pruned", why=why, hint="leave it out of the widths")
        if width not in known[root].widths:
            allowed = ", ".join(map(str, known[root].widths))
            raise InputError("bad-width", f"'{root}' cannot have {width} channels", hint=f"choose one of {allowed}")
    plan = amount.plan_at(module, prunable.groups, widths)
    smaller = narrowed(module, plan).eval()
    if ranking.importance == "reconstruction" and ranking.images is not None:
        reconstruct(module, smaller, plan, ranking.images, seed=ranking.seed)
    _check(module, smaller, example)
    return Pruned(smaller, plan, _facts(module, smaller, example, plan), prunable.unpruned)


def prune(
    module: nn.Module,
    example: Tensor,
    target: PruneTarget,
    *,
    ranking: Ranking | None = None,
    between: Between | None = None,
    listener: Listener = events.ignore,
) -> Pruned:
    """A smaller copy that meets the target within the rounding of widths, the least important channels gone.

    Raises InputError `target-out-of-reach` with what can be reached, `nothing-to-prune` where no channel would go.
    """
    ranking = ranking or Ranking()
    whole = amount.cost(module, example, target.cost)
    limit = _limit(target, whole)
    smaller, plan, unpruned = module, PruningPlan({}), None
    outputs = {path: _outputs(module.get_submodule(path)) for path in _layers(module)}
    for number in range(1, target.rounds + 1):
        listener(Progress("prune", number - 1, target.rounds, "rounds"))
        prunable = _within_bounds(groups(smaller, example, ranking=ranking, listener=listener), outputs, ranking)
        if unpruned is None:  # later rounds find layers that are as narrow as they may be
            unpruned = prunable.unpruned
            if not prunable.groups:
                raise nothing(prunable)
        limit_now = whole - (whole - limit) * number // target.rounds
        widths = _widths(smaller, example, prunable, target, limit=limit_now, whole=whole, ranking=ranking)
        pruned = shrink(smaller, example, widths, ranking=ranking, prunable=prunable)
        smaller, plan = pruned.module, pruned.plan.after(plan)
        if between is not None:
            between(smaller, number, target.rounds)
            smaller = smaller.cpu().eval()
    assert unpruned is not None
    if not plan.kept:
        raise nothing(Prunable((), unpruned))
    listener(Progress("prune", target.rounds, target.rounds, "rounds"))
    facts = {
        **(pruned.facts if target.rounds == 1 else _facts(module, smaller, example, plan)),
        "target": {"measure": target.cost, "limit": limit, "whole": whole},
        "importance": ranking.importance,
        "round_to": ranking.round_to,
        "left_whole": dict(unpruned),
    }
    return Pruned(smaller, plan, facts, unpruned)


def _widths(
    module: nn.Module,
    example: Tensor,
    prunable: Prunable,
    target: PruneTarget,
    *,
    limit: int,
    whole: int,
    ranking: Ranking,
) -> dict[str, int]:
    """Widths at which the cost is at most `limit`."""
    costs = amount.costs(module, example, prunable.groups)
    scopes = amount.scopes_of(prunable.groups, module, isomorphic=target.isomorphic)
    try:
        if target.cost == "macs":
            widths = amount.reach(scopes, costs.macs_at, limit)
            counted = costs.at(widths, "macs")
            if counted <= limit and abs(counted - costs.macs_at(widths)) <= amount.ALIKE * whole:
                return widths
        return amount.reach(scopes, lambda widths: costs.at(widths, target.cost), limit)
    except Unreachable as error:
        raise amount.too_much(
            target.cost,
            limit,
            error.least,
            whole,
            round_to=ranking.round_to,
            max_layer=ranking.max_layer,
        ) from error


def _limit(target: PruneTarget, whole: int) -> int:
    if whole == 0:
        raise StepError(
            "cannot-count",
            f"the {amount.UNITS[target.cost]} of the network cannot be counted",
            hint="give a share of the parameters instead",
        )
    limit = int(target.amount.of(whole))
    if limit >= whole:
        raise InputError(
            "nothing-to-prune",
            f"the network has no more than {limit:,} {amount.UNITS[target.cost]} as it is",
            why=f"it has {whole:,}",
            hint="ask for less",
        )
    return limit


def _group(dependencies: DependencyGroup, scores: Tensor, module: nn.Module, ranking: Ranking) -> PrunableGroup:
    blocks = portions(dependencies, module)
    size = len(blocks[0][0])
    ordered = [sorted(clusters, key=lambda cluster: float(scores[cluster].mean())) for clusters in blocks]
    order = [int(index) for step in zip(*ordered, strict=True) for cluster in step for index in cluster]
    step = size * len(blocks)
    unit = lcm(ranking.round_to, step)
    least = max(unit, _least(dependencies.channels, ranking))
    widths = [width for width in range(unit, dependencies.channels, unit) if width >= least]
    layers: list[tuple[str, Any]] = [(dependencies.root, "out")]
    for member in dependencies.members:
        if member.axis != "parameter" and is_layer(module.get_submodule(member.path)):
            layers.append((member.path, member.axis))
    return PrunableGroup(
        root=dependencies.root,
        layers=tuple(dict.fromkeys(layers)),
        channels=dependencies.channels,
        widths=(*widths, dependencies.channels),
        order=tuple(order),
        scores=tuple(scores.tolist()),
        step=step,
        dependencies=dependencies,
    )


def _within_bounds(prunable: Prunable, outputs: Mapping[str, int], ranking: Ranking) -> Prunable:
    """A round later a layer is narrower already: the share that may go is that of the network one began with."""
    kept = []
    for group in prunable.groups:
        least = _least(outputs[group.root], ranking)
        widths = tuple(width for width in group.widths if width >= least or width == group.channels)
        if len(widths) > 1:
            kept.append(replace(group, widths=widths))
    return Prunable(tuple(kept), prunable.unpruned)


def _least(channels: int, ranking: Ranking) -> int:
    return ceil(channels * (1 - ranking.max_layer) - 1e-9)


def _spared(dependencies: DependencyGroup, ranking: Ranking) -> str:
    for path in dependencies.layers:
        if any(_names(word, path) for word in ranking.ignore):
            return "it was asked to stay whole" if path == dependencies.root else f"{path} was asked to stay whole"
    return ""


def _names(word: str, path: str) -> bool:
    """Whether a word of `ignore` names a layer: its path, that of a module around it, or an expression for either."""
    parts = path.split(".")
    around = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return any(item == word or re.fullmatch(word, item) for item in around)


def check_names(module: nn.Module, ranking: Ranking) -> None:
    """Raise InputError for a word of `ignore` that names no layer."""
    for word in ranking.ignore:
        if not any(_names(word, path) for path in _layers(module)):
            raise InputError(
                "no-such-layer",
                f"no layer is called '{word}'",
                why="asked to stay whole",
                hint=f"write a path such as {next(iter(_layers(module)), 'conv1')}, or a regular expression",
            )


def _unseen(module: nn.Module, path: str) -> str:
    """Why the graph has no such layer."""
    inside = isinstance(module.get_submodule(path.rpartition(".")[0]), nn.MultiheadAttention)
    return "it belongs to multi-head attention" if inside else "the forward pass does not use it"


def _too_narrow(group: PrunableGroup, ranking: Ranking) -> str:
    unit = lcm(ranking.round_to, group.step)
    if group.channels <= unit:
        apart = f" and {group.step} go at a time" if group.step > 1 and ranking.round_to % group.step else ""
        return f"it has {group.channels} channels, which are rounded to {ranking.round_to}{apart}"
    return f"of its {group.channels} channels at least {1 - ranking.max_layer:.0%} have to stay, rounded to {unit}"


def nothing(prunable: Prunable, why: str = "") -> InputError:
    """The error for a pruning that would change nothing."""
    reasons = Counter(prunable.unpruned.values()).most_common(3)
    unpruned = "; ".join(f"{count} layers: {reason}" for reason, count in reasons)
    return InputError(
        "nothing-to-prune",
        "no channel of this network can go",
        why=why or unpruned or "no layer has channels to lose",
        hint="a smaller round_to leaves more to choose from; quantization alone needs no pruning",
    )


def _check(module: nn.Module, smaller: nn.Module, example: Tensor) -> None:
    """Forward on the example, forward and backward on a smaller one: as before. Raises StepError."""
    small = smaller_example(module, example)
    try:
        with torch.no_grad():
            shapes = [tuple(item.eval()(example).shape) for item in (module, smaller)]
        why = lost(examine(module, small), examine(smaller, small))
    except Exception as error:
        raise StepError("pruned-network-fails", "the pruned network does not run", why=str(error)) from error
    if why or shapes[0] != shapes[1]:
        raise StepError(
            "pruned-network-fails",
            "the pruned network does not work as the whole one does",
            why=why or f"it gives {shapes[1]} instead of {shapes[0]}",
            hint="leave layers out with --ignore",
        )


def _facts(module: nn.Module, smaller: nn.Module, example: Tensor, plan: PruningPlan) -> dict[str, Any]:
    countable: tuple[Countable, ...] = ("macs", "parameters", "size")
    costs: dict[str, Any] = {
        name: {"before": amount.cost(module, example, name), "after": amount.cost(smaller, example, name)}
        for name in countable
    }
    layers = [
        {"name": path, "before": _outputs(module.get_submodule(path)), "after": _outputs(smaller.get_submodule(path))}
        for path in _layers(module)
    ]
    return {**costs, "layers": layers, "pruned_layers": len(plan.layers(module))}


def _layers(module: nn.Module) -> list[str]:
    return [path for path, item in module.named_modules() if is_layer(item)]


def _outputs(layer: nn.Module) -> int:
    return (sizes(layer) or (0, 0))[0]
