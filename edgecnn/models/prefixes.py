"""Prefixes of tensor names: a network inside something else keeps its own names behind that part's (`backbone.`).

Lightning modules, wrappers and Hugging Face's classes save a network so, with other tensors beside it: a loss, metrics,
a teacher. The part whose names fit is taken, and what is left is named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch

from edgecnn.core.units import first_few
from edgecnn.models.registry import without_training_heads
from edgecnn.models.versions import below
from edgecnn.models.weights import Weights

_LEAST_SHARE = 0.2
"""Of the tensors: what lies behind fewer is no network with something beside it."""
_NO_LAYERS = re.compile(r"(criterion|loss\w*|\w*_loss|metrics?|(train|val|valid|test)_(acc\w*|metrics?|loss))\..*")
"""Losses and metrics beside a network, by the names that training frameworks give them."""
_COUNTED = ("total_ops", "total_params")
"""Buffers that a profiler (thop) leaves in every module."""
_SECOND = ("ema", "average", "swa", "teacher", "momentum", "target")
# transformers' ResNetForImageClassification computes what torchvision's ResNet does, under other names.
_HUGGING_FACE = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"embedder\.embedder\.convolution", "conv1"),
        (r"embedder\.embedder\.normalization", "bn1"),
        (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution", r"layer{}.{}.conv{}"),
        (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization", r"layer{}.{}.bn{}"),
        (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution", r"layer{}.{}.downsample.0"),
        (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization", r"layer{}.{}.downsample.1"),
        (r"classifier\.1", "fc"),
    )
)
_HUGGING_FACE_STEM = "embedder.embedder.convolution.weight"


@dataclass(frozen=True, slots=True)
class FilePart:
    """The weights as one part of the file has them. `left` are the names of the tensors that are not among them, and
    `outside` those of them that may be layers; `others` are prefixes behind which other networks of these names lie."""

    weights: Weights
    prefix: str = ""
    left: tuple[str, ...] = ()
    translated: bool = False
    outside: Mapping[str, torch.Tensor] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        if self.translated:
            said.append("the names of the tensors are Hugging Face's; they were translated into torchvision's")
        if self.left:
            where = f"the network lies behind '{self.prefix}'; " if self.prefix else ""
            said.append(f"{where}{len(self.left)} tensors of the file are not used: {first_few(self.left)}")
        if self.others:
            said.append(f"other networks lie behind {first_few(self.others)}; --weights NAME takes one")
        return tuple(said)

    @property
    def is_second(self) -> bool:
        """Whether its name is that of an average or a teacher."""
        return any(word in self.prefix.lower() for word in _SECOND)


def views(weights: Weights) -> list[FilePart]:
    """The whole file first, then each part that holds a good share of the tensors, the larger first."""
    found = [_view(weights, weights.state, "")]
    if any(key.endswith(_HUGGING_FACE_STEM) for key in weights.state):
        found.append(_translated(weights))
    return found + [_behind(weights, prefix) for prefix in _common(weights.state)]


def named_as(weights: Weights, keys: Collection[str]) -> FilePart:
    """The part of the file whose names are most those of a network with these `keys`.

    Where it has all of them, what else lies beside it under names of its own is left aside.
    """
    candidates = [*views(weights), FilePart(weights)]
    if weights.prefix:
        as_stored = {weights.prefix + key: value for key, value in weights.state.items()}
        candidates.append(FilePart(replace(weights, state=as_stored, prefix="", versions={})))
    if ahead := _shared(keys):
        wrapped = {ahead + key: value for key, value in weights.state.items()}
        candidates.append(FilePart(replace(weights, state=wrapped, versions={})))
    known = set(keys)
    shares = [len(known & set(view.weights.state)) for view in candidates]
    alike = [view for view, share in zip(candidates, shares, strict=True) if share == max(shares)]
    best = next((view for view in alike if not view.is_second), alike[0])
    best = replace(best, others=tuple(view.prefix for view in alike if view.prefix not in ("", best.prefix)))
    if not set(without_training_heads(dict.fromkeys(keys))) <= set(_with_counters(best.weights.state, keys)):
        return best
    tops = {key.partition(".")[0] for key in keys}
    beside = [key for key in best.weights.state if key not in known and key.partition(".")[0] not in tops]
    kept = {key: value for key, value in best.weights.state.items() if key not in beside}
    return replace(best, weights=replace(best.weights, state=kept), left=(*best.left, *beside))


def _with_counters(state: Mapping[str, torch.Tensor], keys: Iterable[str]) -> list[str]:
    """The names, and those of batch counters: old files lack them."""
    return [*state, *(key for key in keys if key.endswith("num_batches_tracked"))]


def _view(weights: Weights, state: Mapping[str, torch.Tensor], prefix: str) -> FilePart:
    """Without what is no part of any network."""
    dropped = [key for key in state if key.rpartition(".")[2] in _COUNTED or _NO_LAYERS.fullmatch(key)]
    kept = {key: value for key, value in state.items() if key not in dropped}
    outside = [key for key in weights.state if prefix and not key.startswith(prefix)]
    left = (*outside, *(prefix + key for key in dropped if key.rpartition(".")[2] not in _COUNTED))
    layers = {key: weights.state[key] for key in outside if not _NO_LAYERS.fullmatch(key)}
    return FilePart(replace(weights, state=kept), prefix, left, outside=layers)


def _behind(weights: Weights, prefix: str) -> FilePart:
    inside = {key.removeprefix(prefix): value for key, value in weights.state.items() if key.startswith(prefix)}
    view = _view(weights, inside, prefix)
    versions = below(weights.versions, prefix)
    return replace(view, weights=replace(view.weights, prefix=weights.prefix + prefix, versions=versions))


def _common(state: Collection[str]) -> list[str]:
    """Prefixes that a good share of the names begin with, the more frequent first."""
    counted: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        counted.update(".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
    frequent = [prefix for prefix, count in counted.items() if count >= max(2, _LEAST_SHARE * len(state))]
    return sorted(frequent, key=lambda prefix: (-counted[prefix], len(prefix)))


def _shared(keys: Iterable[str]) -> str:
    """What all names of a network begin with: it is a wrapper, and the file may be of what it wraps."""
    first = {key.partition(".")[0] for key in keys}
    return f"{first.pop()}." if len(first) == 1 else ""


def _translated(weights: Weights) -> FilePart:
    stem = next(key for key in weights.state if key.endswith(_HUGGING_FACE_STEM)).removesuffix(_HUGGING_FACE_STEM)
    names = {key: _torchvisions(key.removeprefix(stem)) for key in weights.state}
    state = {name: weights.state[key] for key, name in names.items() if name}
    left = tuple(key for key, name in names.items() if not name)
    return FilePart(replace(weights, state=state, versions={}), left=left, translated=True)


def _torchvisions(name: str) -> str:
    """torchvision's name of a tensor of Hugging Face's ResNet; empty for what is none."""
    module, _, tensor = name.rpartition(".")
    for pattern, new in _HUGGING_FACE:
        if found := pattern.fullmatch(module):
            numbers = [int(number) for number in found.groups()]
            counted = [number if place == 1 else number + 1 for place, number in enumerate(numbers)]
            return f"{new.format(*counted)}.{tensor}"
    return ""
