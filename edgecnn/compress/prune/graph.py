"""Dependency graph: which layers change together, from torch-pruning's graph, followed in our own way.

The only module that imports torch_pruning (1.6.1, DepGraph: arXiv:2301.12900). Its tracing and its edges are used. The
way along them is ours, for two reasons: where the library cannot follow a reshape it gives the whole network up
(ZeroDivisionError in ShuffleNetV2, IndexError in others), here only what passes through it; and it walks every path
with a list of channels, many GB in densely connected networks, here a channel is taken along an edge once.

Nothing is computed: the network is traced on the meta device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch_pruning
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency import index_mapping, shape_infer

from edgecnn.compress.prune.group import Axis, DependencyGroup, Member
from edgecnn.core.errors import StepError
from edgecnn.core.third_party import first_line
from edgecnn.models.pruned import LARGEST, sizes
from edgecnn.models.reference import silent

MOST_PAIRS = 3_000_000
"""Pairs of a layer's channel and a root's taken along an edge for one group: beyond it the group is left whole."""
MOST_EDGES = 4_000
"""Edges that all channels of a root may be taken along; the widest group of a ResNet-152 has about 900."""
MOST_ROOTS = 128
"""Channels of the root that one channel of a layer comes from; a flattened 7 x 7 map has 49."""
MOST_QUESTIONS = 5_000
"""Layers asked to learn how many channels one operation has."""
OUTPUTS = "its channels are what the network gives: one for each class"
LOST = "torch-pruning cannot tell where its channels go"
ENTANGLED = "its channels reach so many others that following them would take too much memory"
_KNOWN = {
    *(ops.OPTYPE.CONV, ops.OPTYPE.DEPTHWISE_CONV, ops.OPTYPE.LINEAR, ops.OPTYPE.BN, ops.OPTYPE.LN, ops.OPTYPE.GN),
    *(ops.OPTYPE.IN, ops.OPTYPE.PRELU, ops.OPTYPE.PARAMETER),
}
_UNKNOWN = {ops.OPTYPE.MHA: "multi-head attention", ops.OPTYPE.LSTM: "an LSTM", ops.OPTYPE.EMBED: "an embedding"}
_Map = index_mapping


@dataclass(frozen=True, slots=True)
class _Spread:
    """Where the channels of a root go: (node, axis) to sorted pairs `index * channels + root`."""

    pairs: dict[tuple[Any, Axis], np.ndarray]
    obstacle: str


def dependency_groups(module: nn.Module, example: Tensor) -> list[DependencyGroup]:
    """Everything that has to be pruned together, one entry for each layer that is not part of an earlier one.

    `module` and `example` (N, C, H, W) lie on one device, best the meta device. Raises StepError `cannot-trace`.
    """
    try:
        with silent():
            graph = _trace(module, example)
            unfollowed = _infer(graph)
    except Exception as error:
        raise StepError(
            "cannot-trace",
            "torch-pruning cannot trace the network",
            why=first_line(error),
            hint="leave the stage `prune` out, or give a network whose forward pass is plain PyTorch",
        ) from error
    names = {item: path for path, item in module.named_modules()}
    names.update({item: path for path, item in module.named_parameters()})
    claimed: dict[tuple[str, Axis], np.ndarray] = {}
    groups = []
    for root, node in list(graph.module2node.items()):
        if isinstance(root, ops.TORCH_CONV | ops.TORCH_LINEAR) and (names.get(root), "out") not in claimed:
            dependencies = _dependency_group(node, names, _follow(node, unfollowed, outputs=graph.outputs), claimed)
            groups.append(dependencies)
    return groups


class _Graph(torch_pruning.DependencyGraph):  # type: ignore[misc]
    """The library's graph, and the nodes that make the network's outputs.

    The library infers a channel count by asking along every path there is; `questions` bounds that.
    """

    outputs: frozenset[Any]
    questions: int = MOST_QUESTIONS

    def get_out_channels(self, module_or_node: Any) -> Any:
        self._ask()
        return super().get_out_channels(module_or_node)

    def get_in_channels(self, module_or_node: Any) -> Any:
        self._ask()
        return super().get_in_channels(module_or_node)

    def _ask(self) -> None:
        self.questions -= 1
        if self.questions < 0:
            raise RecursionError("the channels are inferred along too many paths")


def _trace(module: nn.Module, example: Tensor) -> _Graph:
    """The steps of `DependencyGraph.build_dependency` that cannot fail in a part alone."""
    graph = _Graph()
    graph.verbose, graph.model, graph.ignored_params = False, module, []
    graph._module2name = {item: path for path, item in module.named_modules()}
    graph._param_to_name, graph.unwrapped_parameters = graph._detect_unwrapped_parameters(None)
    ends: list[Any] = []

    def remember(out: Any) -> Any:
        ends.extend(item.grad_fn for item in torch_pruning.utils.flatten_as_list(out))
        return out

    graph.module2node = graph._trace(module, example, _with_training_heads, remember)
    graph._build_dependency(graph.module2node)
    graph.outputs = frozenset(node for node in graph.module2node.values() if node.grad_fn in ends)
    return graph


def _with_training_heads(module: nn.Module, example: Tensor) -> Any:
    """The outputs in inference; in training where that gives more of them: auxiliary heads read pruned channels too."""
    flat = torch_pruning.utils.flatten_as_list
    try:
        trained = module.train()(example.expand(2, *example.shape[1:]))
    except Exception:
        trained = None
    given = module.eval()(example)
    return trained if trained is not None and len(flat(trained)) > len(flat(given)) else given


def _infer(graph: _Graph) -> dict[Any, str]:
    """Where channels of one node lie in the next; and the nodes where the library cannot tell, each with its error."""
    every, unfollowed = graph.module2node, {}
    for node in every.values():
        if node.type == ops.OPTYPE.CONCAT:
            node.module.concat_sizes = _concatenated(node)
    for step in (shape_infer.init_shape_information, index_mapping.update_index_mapping):
        for key, node in every.items():
            graph.module2node, graph.questions = {key: node}, MOST_QUESTIONS
            try:
                step(graph)
            except Exception as error:
                unfollowed[node] = type(error).__name__
    graph.module2node = every
    return unfollowed


def _concatenated(node: Any) -> list[int] | None:
    """The channels of each input, as autograd has seen them: the library guesses them from layers far away."""
    channels = []
    for item in node.inputs:
        metadata: Any = getattr(item.grad_fn, "_input_metadata", ())
        if len(metadata) != 1 or len(metadata[0].shape) < 2:
            return None
        channels.append(int(metadata[0].shape[1]))
    return channels


def _follow(root: Any, unfollowed: dict[Any, str], *, outputs: frozenset[Any]) -> _Spread:
    """Take all output channels of `root` along every edge that they trigger, each pair once."""
    channels = _channels(root)
    handler = _out_of(root)
    start = np.arange(channels, dtype=np.int64) * (channels + 1)
    visited: dict[tuple[Any, Any], np.ndarray] = {(root, handler): start}
    waiting, taken = [(root, handler, start)], 0
    obstacle = ""
    while waiting and not obstacle:
        node, handler, pairs = waiting.pop()
        obstacle = _obstacle(node, handler, unfollowed, outputs=outputs)
        for edge in node.dependencies:
            if not edge.is_triggered_by(handler):
                continue
            reached = _mapped(edge.index_mapping, pairs, channels)
            if reached is None or not _within(reached, edge.target, _axis(edge.target, edge.handler), channels):
                obstacle = obstacle or LOST
                break
            key = (edge.target, edge.handler)
            fresh = np.setdiff1d(reached, visited[key], assume_unique=True) if key in visited else reached
            taken += pairs.size + reached.size
            if not fresh.size:
                continue
            visited[key] = np.union1d(visited[key], fresh) if key in visited else fresh
            waiting.append((*key, fresh))
            taken += visited[key].size
            if taken > min(MOST_PAIRS, MOST_EDGES * channels) or _roots_of_one(visited[key], channels) > MOST_ROOTS:
                obstacle = ENTANGLED
                break
    return _Spread({(node, _axis(node, how)): pairs for (node, how), pairs in visited.items()}, obstacle)


def _roots_of_one(pairs: np.ndarray, channels: int) -> float:
    """How many channels of the root a channel here comes from, in the mean."""
    return pairs.size / np.unique(pairs // channels).size if pairs.size > channels else 1.0


def _channels(node: Any) -> int:
    return int(node.module.out_features if isinstance(node.module, nn.Linear) else node.module.out_channels)


def _out_of(node: Any) -> Any:
    """The library's pruning function of a layer's outputs; for a depthwise convolution that of both sides."""
    pruners = torch_pruning.pruner.function.PrunerBox
    return pruners[ops.module2type(node.module)].prune_out_channels


def _axis(node: Any, handler: Any) -> Axis:
    if node.type == ops.OPTYPE.PARAMETER:
        return "parameter"
    two_sided = node.type in (ops.OPTYPE.CONV, ops.OPTYPE.LINEAR)
    return "in" if two_sided and handler.__name__ == "prune_in_channels" else "out"


def _obstacle(node: Any, handler: Any, unfollowed: dict[Any, str], *, outputs: frozenset[Any]) -> str:
    if node in unfollowed:
        kind = node.type.name.lower()
        return f"torch-pruning cannot follow its channels through a {kind} ({unfollowed[node]})"
    if node.type == ops.OPTYPE.OUTPUT or (node in outputs and _axis(node, handler) == "out"):
        return OUTPUTS
    if node.type in _UNKNOWN:
        return f"its channels go through {_UNKNOWN[node.type]}"
    return ""


def _mapped(mappings: list[Any], pairs: np.ndarray, channels: int) -> np.ndarray | None:
    """The pairs behind an edge, sorted; None for an edge that cannot be followed."""
    index, root = np.divmod(pairs, channels)
    for mapping in mappings:
        if mapping is None:
            continue
        if isinstance(mapping, _Map._FlattenIndexMapping):
            if not 0 < index.size * mapping._stride <= MOST_PAIRS:
                return None
            index, root = _flattened(mapping, index, root)
        elif isinstance(mapping, _Map._ConcatIndexMapping | _Map._SplitIndexMapping) and len(mapping.offset) == 2:
            # into the whole: shifted; out of it: those of that part, shifted back
            into = mapping.reverse == isinstance(mapping, _Map._SplitIndexMapping)
            start, end = mapping.offset
            inside = slice(None) if into else (index >= start) & (index < end)
            index, root = index[inside] + (start if into else -start), root[inside]
        elif isinstance(mapping, _Map._SliceIndexMapping):
            index, root = _sliced(mapping, index, root)
        else:
            return None
    return np.unique(index * channels + root)


def _within(pairs: np.ndarray, node: Any, axis: Axis, channels: int) -> bool:
    """Whether the channels exist there: an edge along another dimension leads past the end."""
    if not pairs.size:
        return True
    if node.type == ops.OPTYPE.PARAMETER:
        size = node.module.shape[node.pruning_dim]
    elif node.type in _KNOWN:
        counts = sizes(node.module)
        size = LARGEST if counts is None else counts[axis == "in"]
    else:
        size = max(_widest(item) for item in (node, *node.inputs))
    return bool(pairs[0] >= 0 and pairs[-1] // channels < size)


def _widest(node: Any) -> int:
    """The largest dimension of what a node gave, the batch aside: a channel's index cannot be larger."""
    shapes = [tuple(item.shape) for item in getattr(node.grad_fn, "_input_metadata", ())]
    if not shapes or not node.inputs or any(len(shape) > 4 for shape in shapes):
        return LARGEST
    return max((int(side) for shape in shapes for side in shape[1:]), default=1)


def _flattened(mapping: Any, index: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stride = mapping._stride
    if mapping.reverse:
        return index // stride, root
    return (index[:, None] * stride + np.arange(stride)).ravel(), np.repeat(root, stride)


def _sliced(mapping: Any, index: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if mapping.reverse:
        return index * mapping.step + mapping.start, root
    inside = (index >= mapping.start) & (index < mapping.end) & ((index - mapping.start) % mapping.step == 0)
    return (index[inside] - mapping.start) // mapping.step, root[inside]


def _dependency_group(
    node: Any, names: dict[Any, str], spread: _Spread, claimed: dict[tuple[str, Axis], np.ndarray]
) -> DependencyGroup:
    """The group of a root. A channel belongs to one group: what an earlier one has claimed is an obstacle.

    Of a group that could not be followed to its end only the layers are certain whose outputs it reached.
    """
    root, channels = names[node.module], _channels(node)
    members, obstacle = [], spread.obstacle
    for item, axis, indices, roots in _members(spread, channels):
        if item.module not in names or (spread.obstacle and axis != "out"):
            continue
        member = Member(names[item.module], axis, indices, roots, max(item.pruning_dim, 0))
        taken = claimed.get((member.path, axis), np.empty(0, np.int64))
        if np.intersect1d(indices, taken).size:
            obstacle = obstacle or f"its channels share {member.path} with those of another layer"
        claimed[member.path, axis] = np.union1d(taken, indices)
        members.append(member)
    claimed.setdefault((root, "out"), np.arange(channels))
    return DependencyGroup(root, channels, tuple(members), obstacle)


def _members(spread: _Spread, channels: int) -> Iterator[tuple[Any, Axis, np.ndarray, np.ndarray]]:
    for (node, axis), pairs in spread.pairs.items():
        if node.type in _KNOWN:
            indices, roots = np.divmod(pairs, channels)
            yield node, axis, indices, roots
