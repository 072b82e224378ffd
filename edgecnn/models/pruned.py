"""Pruning plan: which channels of the original network are left, as JSON, and how to build the smaller network from it.

A plan only ever takes channels away, so a hostile one cannot make a network larger than its architecture is. The same
code makes the pruned network from the original and, for `open_model`, from a fresh one: what is loaded then is bit for
bit what was saved.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgecnn.core.errors import InputError

VERSION = 1
PLAN_KEY = "edgecnn_plan"
"""Under which the plan stands in a checkpoint's metadata."""
LARGEST = 1 << 20
"""More channels than any layer has: what a plan may not go beyond."""
_RANGES = re.compile(r"\d{1,7}(?:-\d{1,7})?(?:,\d{1,7}(?:-\d{1,7})?)*")


@dataclass(frozen=True, slots=True)
class Channels:
    """The original's channels that are left, ascending; None where all are. `dim` is that of a plain parameter."""

    out: tuple[int, ...] | None = None
    into: tuple[int, ...] | None = None
    dim: int | None = None


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What is left of each module or plain parameter that changed, by its path in the original network."""

    kept: Mapping[str, Channels]

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, "kept": {path: _written(item) for path, item in sorted(self.kept.items())}}

    @classmethod
    def from_dict(cls, raw: Any) -> PruningPlan:
        """The plan in a checkpoint's metadata. Raises InputError when it is none."""
        if not isinstance(raw, Mapping) or raw.get("version") != VERSION or not isinstance(raw.get("kept"), Mapping):
            raise bad_plan(f"version {VERSION} and the channels kept were expected")
        return cls({str(path): _read(str(path), item) for path, item in raw["kept"].items()})

    def after(self, earlier: PruningPlan | None) -> PruningPlan:
        """This plan of a network that `earlier` made, as one of the network it was made from."""
        if earlier is None:
            return self
        kept = {path: _composed(earlier.kept.get(path), item) for path, item in self.kept.items()}
        return PruningPlan({**earlier.kept, **kept})

    def for_head(self, paths: Collection[str]) -> PruningPlan:
        """The same, where these modules keep all outputs: a head that is made for classes of its own."""
        kept = {path: replace(item, out=None) if path in paths else item for path, item in self.kept.items()}
        return PruningPlan({path: item for path, item in kept.items() if item != Channels()})

    def contradiction(self, given: Mapping[str, tuple[int, ...]]) -> str:
        """Where weights of these shapes (by key) have another number of outputs than the plan keeps, whatever the
        architecture is; empty where nowhere."""
        for path, kept in self.kept.items():
            shape = given.get(path if kept.dim is not None else f"{path}.weight", ())
            # A transposed convolution has its outputs second.
            counts = shape[:2] if kept.dim is None else shape[kept.dim : kept.dim + 1]
            if kept.out is not None and counts and len(kept.out) not in counts:
                return f"it keeps {len(kept.out)} channels of '{path}', and the weights have {counts[0]}"
        return ""

    def layers(self, network: nn.Module) -> list[str]:
        """Paths of the convolutions and linear layers that have fewer outputs."""
        fewer = {path for path, kept in self.kept.items() if kept.out is not None}
        return [path for path, module in network.named_modules() if is_layer(module) and path in fewer]


def is_layer(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd | nn.Linear)


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """(outputs, inputs) of a module a plan can change; None for other modules."""
    if isinstance(module, _ConvNd):
        return module.out_channels, module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    count = None
    if isinstance(module, _NormBase):
        count = module.num_features
    elif isinstance(module, nn.GroupNorm):
        count = module.num_channels
    elif isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        count = module.normalized_shape[0]
    elif isinstance(module, nn.PReLU) and module.num_parameters > 1:
        count = module.num_parameters
    return None if count is None else (count, count)


def narrowed(network: nn.Module, plan: PruningPlan) -> nn.Module:
    """A copy of the network with the channels of the plan alone. Raises InputError where the plan does not fit it."""
    memo: dict[int, Any] = {}
    counts: list[tuple[str, Channels]] = []
    for path, kept in plan.kept.items():
        if kept.dim is not None:
            parameter = _parameter(network, path)
            _check(path, kept.out, parameter.shape[kept.dim] if kept.dim < parameter.ndim else 0)
            memo[id(parameter)] = _select(parameter, kept.dim, kept.out)
        else:
            module = _module(network, path)
            for name, tensor in _tensors(path, module, kept):
                memo[id(getattr(module, name))] = tensor
            counts.append((path, kept))
    smaller = copy.deepcopy(network, memo)
    for path, kept in counts:
        _set_counts(smaller.get_submodule(path), kept)
    return smaller


def skeleton(network: nn.Module) -> nn.Module:
    """A copy without weights, on the meta device: it has shapes, and computes nothing."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(network, memo)


def _module(network: nn.Module, path: str) -> nn.Module:
    try:
        module = network.get_submodule(path)
    except AttributeError as error:
        raise bad_plan(f"the network has no module '{path}'") from error
    if sizes(module) is None:
        raise bad_plan(f"'{path}' is a {type(module).__name__}, which has no channels to take away")
    return module


def _parameter(network: nn.Module, path: str) -> nn.Parameter:
    try:
        return network.get_parameter(path)
    except AttributeError as error:
        raise bad_plan(f"the network has no parameter '{path}'") from error


def _tensors(path: str, module: nn.Module, kept: Channels) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module that change, by their names in it."""
    outputs, inputs = sizes(module) or (0, 0)
    _check(path, kept.out, outputs)
    _check(path, kept.into, inputs)
    own = {**module._parameters, **module._buffers}
    if is_layer(module) and own.get("weight") is None:
        raise bad_plan(f"'{path}' computes its weight from others")
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = own.get(name)
        if name == "weight" and is_layer(module):
            yield name, _layer_weight(path, module, kept)
        elif tensor is not None and kept.out is not None:
            yield name, _select(tensor, 0, kept.out)
    if isinstance(module, nn.GroupNorm):
        _equal_blocks(path, kept.out, outputs, module.num_groups)


def _layer_weight(path: str, module: nn.Module, kept: Channels) -> Tensor:
    assert isinstance(module, _ConvNd | nn.Linear)
    weight = module.weight
    if isinstance(module, _ConvNd) and module.groups > 1:
        if is_depthwise(module):
            if kept.into is not None and kept.into != kept.out:
                raise bad_plan(f"'{path}' is depthwise: its inputs are its outputs")
            return _select(weight, 0, kept.out)
        return _grouped_weight(path, module, kept)
    out_dim = 1 if isinstance(module, _ConvTransposeNd) else 0
    return _select(_select(weight, out_dim, kept.out), 1 - out_dim, kept.into)


def _grouped_weight(path: str, module: _ConvNd, kept: Channels) -> Tensor:
    """Each group of a grouped convolution keeps as many channels as the others, but may keep other ones."""
    if isinstance(module, _ConvTransposeNd):
        raise bad_plan(f"'{path}' is a grouped transposed convolution")
    _equal_blocks(path, kept.out, module.out_channels, module.groups)
    local = _equal_blocks(path, kept.into, module.in_channels, module.groups)
    weight = module.weight
    if local is not None:
        rows = weight.reshape(module.groups, -1, *weight.shape[1:])
        weight = torch.cat([_select(block, 1, mine) for block, mine in zip(rows, local, strict=True)])
    return _select(weight, 0, kept.out, like=module.weight)


def _equal_blocks(path: str, kept: tuple[int, ...] | None, size: int, blocks: int) -> list[tuple[int, ...]] | None:
    """The channels kept of each of `blocks` equal blocks, counted within the block."""
    if kept is None:
        return None
    length = size // blocks
    channels = [tuple(index % length for index in kept if index // length == block) for block in range(blocks)]
    if len({len(mine) for mine in channels}) != 1:
        raise bad_plan(f"'{path}' has {blocks} groups, and the plan leaves them different numbers of channels")
    return channels


def _select(tensor: Tensor, dim: int, kept: tuple[int, ...] | None, *, like: Tensor | None = None) -> Tensor:
    """Those entries along `dim`; a parameter stays one."""
    chosen = tensor.detach()
    if kept is not None:
        chosen = chosen.index_select(dim, torch.tensor(kept, dtype=torch.int64, device=tensor.device))
    kind = tensor if like is None else like
    return nn.Parameter(chosen, requires_grad=kind.requires_grad) if isinstance(kind, nn.Parameter) else chosen


def _set_counts(module: nn.Module, kept: Channels) -> None:
    out = None if kept.out is None else len(kept.out)
    into = None if kept.into is None else len(kept.into)
    if isinstance(module, _ConvNd):
        if is_depthwise(module):
            into = out
            module.groups = out or module.groups
        module.out_channels, module.in_channels = out or module.out_channels, into or module.in_channels
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = out or module.out_features, into or module.in_features
    elif out is not None and isinstance(module, _NormBase):
        module.num_features = out
    elif out is not None and isinstance(module, nn.GroupNorm):
        module.num_channels = out
    elif out is not None and isinstance(module, nn.LayerNorm):
        module.normalized_shape = (out,)
    elif out is not None and isinstance(module, nn.PReLU):
        module.num_parameters = out


def _check(path: str, kept: tuple[int, ...] | None, size: int) -> None:
    if kept is not None and (not kept or kept[-1] >= size):
        raise bad_plan(f"'{path}' has {size} channels, and the plan keeps {f'number {kept[-1]}' if kept else 'none'}")


def _composed(earlier: Channels | None, later: Channels) -> Channels:
    if earlier is None:
        return later
    return Channels(_chosen(earlier.out, later.out), _chosen(earlier.into, later.into), later.dim)


def _chosen(earlier: tuple[int, ...] | None, later: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if earlier is None or later is None:
        return earlier if later is None else later
    return tuple(earlier[index] for index in later)


def _written(kept: Channels) -> dict[str, Any]:
    about: dict[str, Any] = {"dim": kept.dim} if kept.dim is not None else {}
    for name, channels in (("out", kept.out), ("in", kept.into)):
        if channels is not None:
            about[name] = _ranges(channels)
    return about


def _ranges(channels: Iterable[int]) -> str:
    """`0-3,7` for 0, 1, 2, 3, 7."""
    runs = [list(run) for _, run in groupby(enumerate(channels), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else f"{run[0][1]}" for run in runs)


def _read(path: str, raw: Any) -> Channels:
    if not isinstance(raw, Mapping) or not raw or not set(raw) <= {"out", "in", "dim"}:
        raise bad_plan(f"'{path}' does not say what is kept")
    dim = raw.get("dim")
    if dim is not None and (type(dim) is not int or not 0 <= dim < 8 or "in" in raw or "out" not in raw):
        raise bad_plan(f"'{path}' has the dimension {dim!r}")
    return Channels(_parsed(path, raw.get("out")), _parsed(path, raw.get("in")), dim)


def _parsed(path: str, text: Any) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not isinstance(text, str) or not _RANGES.fullmatch(text):
        raise bad_plan(f"'{path}' keeps {str(text)[:40]!r}, which are no ranges of channels")
    channels: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first)
        if start > end or end >= LARGEST or (channels and start <= channels[-1]):
            raise bad_plan(f"'{path}' keeps '{part}', which is out of order or too large")
        channels.extend(range(start, end + 1))
    return tuple(channels)


def bad_plan(why: str) -> InputError:
    """The error for a plan that makes no sense, or no network."""
    return InputError(
        "bad-plan",
        "the checkpoint's plan of its pruned channels cannot be used",
        why=why,
        hint="prune the original checkpoint again: edgecnn prune CKPT --macs 50% --out FILE.safetensors",
    )
