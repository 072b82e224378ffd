"""Trial pruning on copies: which dependency groups can be pruned. A graph can be wrong, a forward pass cannot.

Two questions. Does the network run with fewer of these channels, in inference and in training, with outputs of the same
shape and a gradient for every weight? And does it compute what it should? Without its removed channels it has to give
exactly what the whole network gives when nobody reads them: the weights that read them are set to zero, and the norms
that look at several channels at once to the channels that stay. Weights are random for this, so that none is zero by
chance or by initialisation. A wrong alignment (a channel shuffle, an attention head, a shortcut that pads) shows here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from edgecnn.compress.prune.channel_blocks import CannotPrune, plan_of, portions
from edgecnn.compress.prune.graph import dependency_groups
from edgecnn.compress.prune.group import DependencyGroup
from edgecnn.core.errors import EdgecnnError
from edgecnn.core.third_party import first_line
from edgecnn.models.pruned import Channels, PruningPlan, is_depthwise, is_layer, narrowed, skeleton
from edgecnn.models.reference import silent

EQUAL = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest difference, as a share of the largest output, by rounding alone."""
LARGE = 50_000_000
"""Parameters beyond which the trial computes in float32: a copy in float64 would take too much memory."""
MIXED = "its channels are mixed in a way the dependency graph does not see: with fewer the network computes otherwise"
_SIDES = (64, 96, 128)


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What a forward and backward pass showed: output shapes in inference and in training (None where training fails),
    and the parameters that got a gradient."""

    shape: tuple[int, ...]
    trained: tuple[tuple[int, ...], ...] | None
    gradients: frozenset[str]


def examine(module: nn.Module, example: Tensor) -> PassFacts:
    """Run forward and backward on the example's device. The module is left in eval mode, its weights unchanged."""
    with silent(), torch.enable_grad(), torch.random.fork_rng(devices=[]), _given_back(module):
        output = module.eval()(example)
        output.float().square().sum().backward()
        gradients = frozenset(name for name, item in module.named_parameters() if item.grad is not None)
        trained = None
        with suppress(Exception):
            outputs = module.train()(example.expand(2, *example.shape[1:]))
            trained = tuple(tuple(item.shape) for item in _tensors(outputs))
        module.eval()
        return PassFacts(tuple(output.shape), trained, gradients)


@contextmanager
def _given_back(module: nn.Module) -> Iterator[None]:
    """All parameters ask for a gradient meanwhile; running statistics, which move in training mode, are put back."""
    buffers = {name: item.clone() for name, item in module.named_buffers()}
    frozen = [item for item in module.parameters() if not item.requires_grad and item.is_floating_point()]
    for item in frozen:
        item.requires_grad_(True)
    try:
        yield
    finally:
        module.zero_grad(set_to_none=True)
        for item in frozen:
            item.requires_grad_(False)
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    items = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, tuple | list) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def usable(module: nn.Module, example: Tensor, *, seed: int) -> dict[DependencyGroup, str]:
    """Every dependency group with the reason it cannot be pruned, empty where it can.

    `module` is on the CPU, `example` (1, C, H, W). All that can be pruned also can together. Raises StepError
    `cannot-trace`.
    """
    empty, blank = bare(module, example)
    tied = _tied(module)
    reasons = {item: item.obstacle or _unable(item, module, tied) for item in dependency_groups(empty, blank)}
    kept = {item: _halves(item, module, seed) for item, why in reasons.items() if not why}
    small = smaller_example(module, example)
    before = examine(empty, blank)

    def runs(items: Sequence[DependencyGroup]) -> str:
        try:
            after = examine(narrowed(empty, plan_of(module, [(item, kept[item]) for item in items])), blank)
        except EdgecnnError as error:
            return f"it cannot be made narrower: {error.why or error.message}"
        except Exception as error:
            return f"the network does not run with fewer of its channels ({first_line(error)})"
        return lost(before, after)

    working, failed = sift(list(kept), runs)
    reasons.update(failed)
    if working:
        reference = scrambled(module, small, seed=seed)

        def same(items: Sequence[DependencyGroup]) -> str:
            return differs(reference, small, plan_of(module, [(item, kept[item]) for item in items]))

        reasons.update(sift(working, same)[1])
    return reasons


def _tied(module: nn.Module) -> dict[str, str]:
    """Path of each layer that has its weight in common with another to the path of that one."""
    owners: dict[int, list[str]] = {}
    for path, item in module.named_modules():
        for parameter in item.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(path)
    pairs = [paths for paths in owners.values() if len(paths) > 1]
    return {path: next(other for other in paths if other != path) for paths in pairs for path in paths}


def _unable(dependencies: DependencyGroup, module: nn.Module, tied: Mapping[str, str]) -> str:
    shared = next((item.path for item in dependencies.members if item.path in tied), None)
    if shared is not None:
        return f"{shared} has its weights in common with {tied[shared]}"
    try:
        blocks = portions(dependencies, module)
    except CannotPrune as error:
        return str(error)
    if len(blocks[0]) > 1:
        return ""
    return "it has one channel" if len(blocks) == 1 else f"a layer in {len(blocks)} groups takes one channel each of it"


def bare(module: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """The network without its weights, which runs in no time; with them, where it computes with numbers of its own."""
    try:
        empty, blank = skeleton(module).requires_grad_(True), example.to("meta")
        examine(empty, blank)
    except Exception:
        return copy.deepcopy(module).requires_grad_(True), example
    return empty, blank


def lost(before: PassFacts, after: PassFacts) -> str:
    if after.shape != before.shape:
        return f"with fewer of its channels the network gives {list(after.shape)} instead of {list(before.shape)}"
    if after.trained != before.trained:
        return "with fewer of its channels the network does not run in training as before"
    if before.gradients - after.gradients:
        return f"with fewer of its channels no gradient reaches {min(before.gradients - after.gradients)}"
    return ""


def sift(
    items: list[DependencyGroup], fault: Callable[[Sequence[DependencyGroup]], str]
) -> tuple[list[DependencyGroup], dict[DependencyGroup, str]]:
    """Those that work together, and the fault of each other one; found by halving."""
    why = fault(items) if items else ""
    if not why:
        return items, {}
    if len(items) == 1:
        return [], {items[0]: why}
    half = len(items) // 2
    working, failed = sift(items[:half], fault)
    others, more = sift(items[half:], fault)
    failed |= more
    if failed and not fault(working + others):
        return working + others, failed
    for item in others:
        why = fault([*working, item])
        if why:
            failed[item] = why
        else:
            working = [*working, item]
    return working, failed


def _halves(dependencies: DependencyGroup, module: nn.Module, seed: int) -> list[int]:
    """About half of the channels at random, the same number of each block."""
    generator = np.random.default_rng([seed, crc32(dependencies.root.encode())])  # two groups alike would hide a mix-up
    kept: list[int] = []
    for clusters in portions(dependencies, module):
        chosen = generator.permutation(len(clusters))[: max(1, len(clusters) // 2)]
        kept.extend(int(index) for place in chosen for index in clusters[place])
    return sorted(kept)


def smaller_example(module: nn.Module, example: Tensor) -> Tensor:
    """A smaller image the network also takes, float32 noise: what is mixed does not depend on the size."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), silent():
        for side in (*_SIDES, 0):
            shape = (1, example.shape[1], side, side) if side else tuple(example.shape)
            if side and side > max(example.shape[2:]) // 2:
                continue
            if not side or _takes(module, shape):
                break
    return torch.randn(shape, generator=generator)


def _takes(module: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        return bool(module(torch.zeros(shape)).ndim == 2)
    except Exception:
        return False


def scrambled(module: nn.Module, example: Tensor, *, seed: int) -> nn.Module:
    """A copy with random weights in eval mode, its batch norms adjusted to them; float64 where it fits."""
    large = sum(item.numel() for item in module.parameters()) > LARGE
    copied = copy.deepcopy(module).to(torch.float32 if large else torch.float64).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), silent():
        for name, item in copied.named_parameters():
            if item.ndim > 1:
                item.normal_(0, (2 / max(item[0].numel(), 1)) ** 0.5, generator=generator)
            else:
                item.uniform_(0.5, 1.5, generator=generator)
                if name.endswith("bias"):
                    item.sub_(1.0)
        _adjust(copied, _like(copied, torch.cat([example, example.flip(-1) + 0.5])))
    return copied.eval()


def _adjust(module: nn.Module, images: Tensor) -> None:
    """Running statistics to those of the images, for weights at random would otherwise make numbers explode."""
    norms = [item for item in module.modules() if isinstance(item, _BatchNorm) and item.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        module(images)
    except Exception:
        for norm in norms:
            norm.reset_running_stats()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _like(module: nn.Module, images: Tensor) -> Tensor:
    return images.to(next(module.parameters()).dtype)


def differs(reference: nn.Module, example: Tensor, plan: PruningPlan) -> str:
    """What is wrong with a plan: empty when the narrowed network gives what the whole one gives that does not read the
    channels removed. `reference` is scrambled; its weights are put back."""
    images = _like(reference, example)
    with torch.no_grad(), silent():
        try:
            smaller = narrowed(reference, plan)
            given = smaller(images)
            with _unread(reference, smaller, plan):
                wanted = reference(images)
        except Exception as error:
            return f"the network does not run with fewer of its channels ({first_line(error)})"
    largest = float(wanted.abs().max())
    near = bool(torch.isfinite(given).all()) and float((given - wanted).abs().max()) <= EQUAL[given.dtype] * largest
    return "" if near and largest > 0 else MIXED


@contextmanager
def _unread(whole: nn.Module, smaller: nn.Module, plan: PruningPlan) -> Iterator[None]:
    """The whole network, with nobody reading the channels that the plan removes."""
    undo: list[Callable[[], Any]] = []
    try:
        for path, kept in plan.kept.items():
            if kept.dim is not None:
                continue
            module = whole.get_submodule(path)
            if kept.into is not None and is_layer(module) and not is_depthwise(module):
                weight = module.get_parameter("weight")
                undo.append(partial(weight.copy_, weight.clone()))
                _blind(module, weight, kept)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm) and kept.out is not None:
                hook = _Among(smaller.get_submodule(path), kept.out)
                undo.append(module.register_forward_hook(hook).remove)
        yield
    finally:
        for step in undo:
            step()


def _blind(module: nn.Module, weight: Tensor, kept: Channels) -> None:
    """Zero the weights that read what is not kept."""
    assert kept.into is not None
    inputs = int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)  # type: ignore[arg-type]
    gone = torch.tensor(sorted(set(range(inputs)) - set(kept.into)), dtype=torch.int64)
    groups = int(getattr(module, "groups", 1))
    if groups == 1:
        weight.index_fill_(0 if isinstance(module, _ConvTransposeNd) else 1, gone, 0)
        return
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    for index in gone.tolist():
        group, place = divmod(index, columns)
        weight[group * rows : (group + 1) * rows, place] = 0


class _Among:
    """A norm over several channels that looks at those kept alone, and gives zero for the others."""

    def __init__(self, norm: nn.Module, kept: tuple[int, ...]) -> None:
        self.norm, self.kept = norm, torch.tensor(kept)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        image = inputs[0]
        count = self.norm_channels(module)
        dim = image.ndim - 1 if isinstance(module, nn.LayerNorm) and image.shape[-1] == count else 1
        part = self.norm(image.index_select(dim, self.kept))
        return torch.zeros_like(image).index_copy_(dim, self.kept, part)

    @staticmethod
    def norm_channels(module: nn.Module) -> int:
        return module.normalized_shape[0] if isinstance(module, nn.LayerNorm) else int(module.num_channels)  # type: ignore[arg-type]
