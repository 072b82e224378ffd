"""Pruning to a latency: widths chosen by a knapsack over layer times that were measured on the target.

After M. Shen et al., Structural Pruning via Latency-Saliency Knapsack (HALP), NeurIPS 2022, arXiv:2210.06659, in code
of our own. The network is exported at a few uniform widths, its layers are timed on the target, and from the table the
channels of each group are chosen; the network that comes of it is measured again, and where it is off the prediction
the table learns from it and the choice is made once more.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgecnn.compress.prune import algorithm
from edgecnn.compress.prune.amount import plan_at
from edgecnn.compress.prune.group import PrunableGroup, Pruned, Ranking
from edgecnn.compress.prune.knapsack import Choices, LatencyModel, choose
from edgecnn.compress.prune.layer_groups import parts_of
from edgecnn.core import plugins
from edgecnn.core.errors import InputError, MissingError
from edgecnn.core.events import Progress, Warned
from edgecnn.core.quantities import Amount
from edgecnn.core.stage import Context
from edgecnn.core.store import digest_of, write_atomically
from edgecnn.core.temporary import temporary_folder
from edgecnn.formats.registry import format_named
from edgecnn.models.pruned import narrowed

STEP = "layer times"
STEPS = 8
"""Uniform widths: whole, seven eighths, and so on."""
OFF = 0.03
"""A network that is as much slower than its budget, or as much quicker, is chosen once more."""


Cut = Callable[[Mapping[str, int]], nn.Module]
"""The network with so many channels left in each group, by root; groups that are not named stay whole."""
TimesOf = Callable[[nn.Module], Mapping[str, float]]
"""Time of each layer in ns by node name; names begin with the paths of modules."""


@dataclass(frozen=True, slots=True)
class LatencyOutcome:
    """Times are the sums over all layers, in ns, as measured on the target before and after; `predicted_ns` is what the
    table said of `widths` (channels left, by root)."""

    before_ns: float
    budget_ns: float
    predicted_ns: float
    after_ns: float
    widths: Mapping[str, int]

    @property
    def speedup(self) -> float:
        return self.before_ns / self.after_ns if self.after_ns else 0.0

    @property
    def is_met(self) -> bool:
        return self.after_ns <= self.budget_ns * (1 + OFF)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "speedup": self.speedup}

    def __str__(self) -> str:
        return (
            f"layers take {self.after_ns / 1e6:.3f} ms together (predicted {self.predicted_ns / 1e6:.3f}), before "
            f"{self.before_ns / 1e6:.3f}: {self.speedup:.2f}x"
        )


class LayerTimeTable:
    """Layer times of a network at the widths asked for, measured once each.

    What was measured stays in the file `kept`: a killed run does not measure it again.
    """

    def __init__(self, cut: Cut, times_of: TimesOf, kept: Path) -> None:
        self._cut, self._times_of, self._kept = cut, times_of, kept
        self._known = _read(kept)

    def of(self, widths: Mapping[str, int]) -> Mapping[str, float]:
        """ns by node name of the network cut to `widths`."""
        module = self._cut(widths)
        key = digest_of([(name, list(value.shape)) for name, value in module.state_dict().items()])
        if key not in self._known:
            self._known[key] = dict(self._times_of(module))
            write_atomically(self._kept, json.dumps(self._known))
        return self._known[key]


def exported_times(context: Context) -> TimesOf:
    """Times of modules on the target, each exported to the format of `context`.

    Raises MissingError where the target cannot be measured.
    """
    layer_times, format = context.layer_times, context.format
    if layer_times is None:
        raise MissingError(
            "no-layer-times",
            f"the layers cannot be timed on {context.target.name}",
            why="it cannot be reached, or another machine plays it, whose times say nothing",
            hint="name a board with --device, or give a share of `macs` instead of `latency`",
        )
    exporter = format_named(format)
    write = plugins.resolve(exporter.export)

    def times_of(module: nn.Module) -> Mapping[str, float]:
        with temporary_folder("widths") as folder:
            file = folder / f"model{exporter.suffix}"
            write(_Network(module, context), file, preprocessing=context.data.preprocessing)
            return layer_times(file, format)

    return times_of


class _Network:
    """A module as the exporters take it; satisfies `core.stage.Model`."""

    def __init__(self, module: nn.Module, context: Context) -> None:
        self._module = module
        self.name = context.model.name
        self.num_classes = context.model.num_classes
        self.input_shape = context.model.input_shape
        self.sha256 = ""

    def module(self) -> nn.Module:
        fresh: nn.Module = copy.deepcopy(self._module).cpu()
        return fresh.eval()


def prune_to_latency(
    module: nn.Module, example: Tensor, *, budget: Amount, ranking: Ranking, context: Context
) -> Pruned:
    """A smaller copy whose layers keep `budget` on the target, with what was measured in `facts["latency"]`.

    `module` is on the CPU, `example` an input (1, C, H, W). Raises what `kernel.groups` and `widths_for` raise, and
    MissingError `no-layer-times` where the target cannot be measured.
    """
    times_of = exported_times(context)
    prunable = algorithm.groups(module, example, ranking=ranking, listener=context.listener)
    if not prunable.groups:
        raise algorithm.nothing(prunable)

    def cut(widths: Mapping[str, int]) -> nn.Module:
        return narrowed(module, plan_at(module, prunable.groups, widths)).eval()

    table = LayerTimeTable(cut, times_of, context.scratch / "layer-times.json")
    outcome = widths_for(module, prunable.groups, table, budget=budget, context=context)
    pruned = algorithm.shrink(module, example, outcome.widths, ranking=ranking, prunable=prunable)
    if not pruned.plan.kept:
        raise algorithm.nothing(prunable, "the network is within the latency as it is")
    facts = {
        **pruned.facts,
        "latency": outcome.to_dict(),
        "importance": ranking.importance,
        "round_to": ranking.round_to,
        "left_whole": dict(prunable.unpruned),
    }
    return replace(pruned, facts=facts)


def widths_for(
    module: nn.Module, groups: Sequence[PrunableGroup], table: LayerTimeTable, *, budget: Amount, context: Context
) -> LatencyOutcome:
    """The channels that each group of `module` keeps within `budget` on the target, as `table` tells.

    Warns where the budget is missed, or where nothing becomes faster. Raises InputError `target-out-of-reach` when the
    smallest widths take longer than the budget, `nothing-to-prune` when all channels fit into it.
    """
    measured = _measure_widths(table, groups, context)
    names = dict.fromkeys(name for _, times in measured for name in times)
    choices = [Choices(g.root, g.widths, tuple(g.worth(width) for width in g.widths)) for g in groups]
    model = LatencyModel(parts_of(names, module, groups), choices)
    model.learn(measured)
    before_ns = sum(measured[0][1].values())
    budget_ns = budget.of(before_ns / 1e6) * 1e6
    if budget_ns >= before_ns:
        raise InputError(
            "nothing-to-prune",
            f"the network's layers take no more than {budget_ns / 1e6:.3f} ms as it is",
            why=f"they take {before_ns / 1e6:.3f} ms on {context.target.name}",
            hint="ask for less",
        )
    outcome = _chosen(model, choices, table, before_ns=before_ns, budget_ns=budget_ns)
    _say(outcome, context)
    return outcome


def _measure_widths(
    table: LayerTimeTable, groups: Sequence[PrunableGroup], context: Context
) -> list[tuple[list[int], Mapping[str, float]]]:
    """The channel counts measured and the times there, the whole network first."""
    uniform = [[_width(group, step / STEPS) for group in groups] for step in range(STEPS, 0, -1)]
    different = list(dict.fromkeys(map(tuple, uniform)))
    measured = []
    for number, counts in enumerate(different, start=1):
        widths = {group.root: count for group, count in zip(groups, counts, strict=True)}
        measured.append((list(counts), table.of(widths)))
        context.listener(Progress(STEP, number, len(different), "widths"))
    return measured


def _width(group: PrunableGroup, share: float) -> int:
    """The admissible width nearest to a share of the channels."""
    return min(group.widths, key=lambda width: (abs(width - share * group.channels), width))


def _chosen(
    model: LatencyModel, choices: Sequence[Choices], table: LayerTimeTable, *, before_ns: float, budget_ns: float
) -> LatencyOutcome:
    """The first choice, or the second where the first was off and the second is better."""
    tried: list[LatencyOutcome] = []
    for _ in range(2):
        picked = choose(model, choices, budget_ns)
        if picked is None:
            break
        widths = {group.name: group.counts[place] for group, place in zip(choices, picked, strict=True)}
        if tried and widths == tried[-1].widths:
            break
        times = table.of(widths)
        after_ns = sum(times.values())
        tried.append(LatencyOutcome(before_ns, budget_ns, model.ns(picked), after_ns, widths))
        if abs(after_ns / budget_ns - 1) <= OFF:
            break
        model.correct(picked, times)
    if not tried:
        raise _not_met(model.ns([0] * len(choices)), budget_ns, before_ns)
    return _better(tried)


def _better(tried: Sequence[LatencyOutcome]) -> LatencyOutcome:
    """Of those that keep the budget the slowest, which keeps most; else the fastest."""
    kept = [outcome for outcome in tried if outcome.is_met]
    return max(kept, key=lambda outcome: outcome.after_ns) if kept else min(tried, key=lambda outcome: outcome.after_ns)


def _not_met(least_ns: float, budget_ns: float, before_ns: float) -> InputError:
    return InputError(
        "target-out-of-reach",
        f"{budget_ns / before_ns:.1%} of the latency cannot be reached by pruning channels",
        why=f"with all that may go gone, the layers take {least_ns / 1e6:.3f} of {before_ns / 1e6:.3f} ms",
        hint=f"--latency {int(100 * least_ns / before_ns) + 1}%, a smaller --round-to or a larger --max-layer",
    )


def _say(outcome: LatencyOutcome, context: Context) -> None:
    context.listener(Progress(STEP, 1, 1, note=str(outcome)))
    if outcome.is_met:
        return
    if outcome.after_ns >= outcome.before_ns:
        message = f"the pruned network is not faster on {context.target.name}: {outcome}"
        context.listener(Warned("not-faster", message, "leave the channels, and quantize instead"))
    else:
        message = f"the pruned network misses its latency of {outcome.budget_ns / 1e6:.3f} ms: {outcome}"
        context.listener(Warned("latency-missed", message, "measure again on an idle machine, or ask for less time"))


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        times = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return times if isinstance(times, dict) else {}
