"""Widths that meet a cost: the least important channels are removed first, and the resulting network is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgecnn.compress.prune.channel_blocks import plan_of
from edgecnn.compress.prune.group import PrunableGroup
from edgecnn.core.errors import InputError
from edgecnn.models.cost import count_macs, layer_macs
from edgecnn.models.pruned import Channels, PruningPlan, is_depthwise, is_layer, narrowed, sizes, skeleton

Countable = Literal["macs", "parameters", "size"]
"""Costs that are counted on the network itself, where latency is measured."""
SLACK = 0.005
"""A target met with more than this share to spare is approached by giving channels back."""
ALIKE = 0.001
"""Multiply-accumulates from the layers' figures and counted ones may differ by this share of the whole."""
MOST_RETURNS = 48
UNITS = {"macs": "multiply-accumulates", "parameters": "parameters", "size": "bytes as INT8"}


@dataclass(frozen=True, slots=True)
class Costs:
    """What a network costs at given widths, on a copy without weights where that runs. `per_weight` are the
    multiply-accumulates of each layer for one of its weights, `elsewhere` those of no layer."""

    module: nn.Module
    bare: nn.Module
    example: Tensor
    groups: Sequence[PrunableGroup]
    per_weight: Mapping[str, float]
    elsewhere: int

    def at(self, widths: Mapping[str, int], measure: Countable) -> int:
        """Counted on the network that results."""
        return cost(narrowed(self.bare, plan_at(self.module, self.groups, widths)), self.example, measure)

    def macs_at(self, widths: Mapping[str, int]) -> int:
        """From the layers' figures: exact where all the computing is done by layers, and a hundred times quicker."""
        kept = plan_at(self.module, self.groups, widths).kept
        return round(
            self.elsewhere + sum(each * self._weights(path, kept.get(path)) for path, each in self.per_weight.items())
        )

    def _weights(self, path: str, kept: Channels | None) -> float:
        layer = self.module.get_submodule(path)
        outputs, inputs = sizes(layer) or (1, 1)
        weights = float(layer.get_parameter("weight").numel())
        if kept is not None and kept.out is not None:
            weights *= len(kept.out) / outputs
        if kept is not None and kept.into is not None and not is_depthwise(layer):
            weights *= len(kept.into) / inputs
        return weights


def costs(module: nn.Module, example: Tensor, groups: Sequence[PrunableGroup]) -> Costs:
    bare = skeleton(module)
    try:
        with torch.no_grad():
            bare(example.to("meta"))
    except Exception:
        bare = module
    total, by_layer = layer_macs(bare, tuple(example.shape))
    layers = {path: macs for path, macs in by_layer.items() if macs and is_layer(module.get_submodule(path))}
    each = {path: macs / module.get_submodule(path).get_parameter("weight").numel() for path, macs in layers.items()}
    return Costs(module, bare, example, groups, each, total - sum(layers.values()))


def cost(module: nn.Module, example: Tensor, measure: Countable) -> int:
    if measure == "macs":
        return count_macs(module, tuple(example.shape))
    return parameters(module) if measure == "parameters" else int8_bytes(module)


def parameters(module: nn.Module) -> int:
    return sum(item.numel() for item in module.parameters())


def int8_bytes(module: nn.Module) -> int:
    """The weights in an INT8 file: one byte for each weight of a convolution or linear layer; for each of their outputs
    4 of bias, 4 of scale and 1 of zero point, batch norms being folded into them; 4 for every other parameter."""
    total = 0
    norms = (nn.modules.batchnorm._BatchNorm,)
    for item in module.modules():
        own = sum(value.numel() for value in item.parameters(recurse=False))
        if is_layer(item):
            weight = item.get_parameter("weight")
            outputs = int(item.out_features if isinstance(item, nn.Linear) else item.out_channels)  # type: ignore[arg-type]
            biases = outputs if getattr(item, "bias", None) is not None else 0
            total += weight.numel() + 9 * outputs + 4 * (own - weight.numel() - biases)
        elif not isinstance(item, norms):
            total += 4 * own
    return total


def plan_at(module: nn.Module, groups: Sequence[PrunableGroup], widths: Mapping[str, int]) -> PruningPlan:
    """The plan that gives each root layer its width."""
    chosen = [
        (group, widths[group.root]) for group in groups if widths.get(group.root, group.channels) < group.channels
    ]
    return plan_of(module, [(group.dependencies, group.kept(width)) for group, width in chosen if group.dependencies])


class Unreachable(Exception):
    """The narrowest network still costs `least`."""

    def __init__(self, least: int) -> None:
        super().__init__(least)
        self.least = least


def reach(
    scopes: Sequence[Sequence[PrunableGroup]], count: Callable[[Mapping[str, int]], int], limit: int
) -> dict[str, int]:
    """Widths at which `count` is at most `limit`, and as near to it as the widths allow.

    Channels are ranked within each scope, and each scope gives the same share of its channels. Raises Unreachable with
    what the narrowest widths cost.
    """
    queues = [_queue(groups) for groups in scopes]
    total = max((len(queue) for queue in queues), default=0)

    def widths_at(position: int) -> dict[str, int]:
        left = {group.root: group.channels for groups in scopes for group in groups}
        for queue in queues:
            for _, group in queue[: round(position / max(total, 1) * len(queue))]:
                left[group.root] -= group.step
        return {group.root: _nearest(group, left[group.root]) for groups in scopes for group in groups}

    least = count(widths_at(total))
    if least > limit:
        raise Unreachable(least)
    low, high = 0, total
    known: dict[tuple[int, ...], int] = {}
    while low < high:
        middle = (low + high) // 2
        widths = widths_at(middle)
        key = tuple(widths.values())
        if key not in known:
            known[key] = count(widths)
        low, high = (low, middle) if known[key] <= limit else (middle + 1, high)
    return _returned([group for groups in scopes for group in groups], widths_at(high), count, limit)


def _queue(groups: Sequence[PrunableGroup]) -> list[tuple[float, PrunableGroup]]:
    """The steps that may be taken, the least important first; those beyond a group's narrowest width are not in it."""
    steps = []
    for group in groups:
        taken = (group.channels - group.widths[0]) // group.step
        for place in range(taken):
            going = group.order[place * group.step : (place + 1) * group.step]
            steps.append((sum(group.scores[index] for index in going) / group.step, group))
    return sorted(steps, key=lambda item: item[0])


def _nearest(group: PrunableGroup, width: int) -> int:
    return min(group.widths, key=lambda item: (abs(item - width), -item))


def _returned(
    groups: Sequence[PrunableGroup], widths: dict[str, int], count: Callable[[Mapping[str, int]], int], limit: int
) -> dict[str, int]:
    """Give portions back where the target leaves room, those worth most first."""
    spent = count(widths)
    open_to = {group.root: group for group in groups}
    for _ in range(MOST_RETURNS):
        offers = [offer for group in open_to.values() if (offer := _portion(group, widths[group.root]))]
        if not offers or limit - spent <= SLACK * limit:
            break
        _, root, wider = max(offers)
        trial = {**widths, root: wider}
        now = count(trial)
        if now <= limit:
            widths, spent = trial, now
        else:
            del open_to[root]  # what is too much now stays so
    return widths


def _portion(group: PrunableGroup, width: int) -> tuple[float, str, int] | None:
    """(what it is worth, the group, the next width), None where nothing went."""
    wider = next((item for item in group.widths if item > width), None)
    return None if wider is None else (group.worth(wider) - group.worth(width), group.root, wider)


def scopes_of(groups: Sequence[PrunableGroup], module: nn.Module, *, isomorphic: bool) -> list[list[PrunableGroup]]:
    """One scope for all; or one for each pattern of coupled layers (isomorphic pruning, arXiv:2407.04616)."""
    if not isomorphic:
        return [list(groups)]
    scopes: dict[tuple[str, ...], list[PrunableGroup]] = {}
    for group in groups:
        scopes.setdefault(_pattern(group, module), []).append(group)
    return list(scopes.values())


def _pattern(group: PrunableGroup, module: nn.Module) -> tuple[str, ...]:
    members = group.dependencies.members if group.dependencies else ()
    named = []
    for item in members:
        layer = None if item.axis == "parameter" else module.get_submodule(item.path)
        side = getattr(layer, "kernel_size", "")
        depthwise = int(getattr(layer, "groups", 1)) > 1
        named.append(f"{type(layer).__name__} {item.axis} {side} {depthwise}")
    return tuple(sorted(named))


def too_much(measure: Countable, wanted: int, least: int, whole: int, *, round_to: int, max_layer: float) -> InputError:
    """The error for a target that cannot be met: what can."""
    loosen = [f"a smaller --round-to than {round_to}"] if round_to > 1 else []
    loosen += [f"a larger --max-layer than {max_layer:.0%}"]
    enough = f"{int(least / whole * 100) + 1}%"
    return InputError(
        "target-out-of-reach",
        f"{wanted / whole:.1%} of the {UNITS[measure]} cannot be reached by pruning channels",
        why=f"with all that may go gone, {least / whole:.1%} are left ({least:,} of {whole:,})",
        hint=f"--{measure} {enough}, or {' or '.join(loosen)}",
    )
