"""Reconstruction: which channels the layers that read them can do without, and the weights they do it with.

A layer that reads fewer channels gets the weights that come nearest, in the least-squares sense over images, to what it
computed before (channel pruning, arXiv:1707.06168). A channel matters as much as that error grows when it goes, the
others making up for it: optimal brain surgery on whole channels (OBC, arXiv:2208.11580; ZipLM, arXiv:2302.04089),
layer by layer, in code of our own. It needs images and no labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.compress.prune.group import Batches, DependencyGroup
from edgecnn.core.events import Listener, Progress, ignore
from edgecnn.models.pruned import PruningPlan

WIDEST = 4608
"""Weights per output of a layer, above which its Gram matrix is not worth its memory: 512 channels of 3x3."""
MEMORY_BYTES = 1 << 30
ROWS_PER_BATCH = 2048
"""Places of the output that are looked at, of a batch of images."""
DAMPING = 0.01
"""Of the mean diagonal, at least added to a Gram matrix: weights stay near what they were where images say little."""
STEPS = 64
"""Times the error of each channel is measured anew: more channels than that go several at a time."""


def scores(
    module: nn.Module,
    dependency_groups: Sequence[DependencyGroup],
    images: Batches,
    *,
    seed: int = 0,
    listener: Listener = ignore,
) -> list[Tensor | None]:
    """For each dependency group, float64 (channels,): the error, as a share of what the layers that read them compute,
    that a channel's going adds when those of lower score have gone. None where no layer that reads them can be
    reconstructed.
    """
    readers = [_readers(module, item) for item in dependency_groups]
    errors: list[Tensor | None] = [None] * len(dependency_groups)
    done = 0
    for chosen in _in_memory(module, readers):
        paths = {path for place in chosen for path in readers[place]}
        grams = _grams(module, paths, images, seed)
        inverses = {path: torch.linalg.inv(gram) for path, gram in grams.items()}
        for place in chosen:
            parts = [
                _Part(_matrix(module.get_submodule(path)), grams[path], inverses[path], columns)
                for path, columns in readers[place].items()
                if path in grams
            ]
            errors[place] = _errors(parts, dependency_groups[place].channels) if parts else None
            done += 1
            listener(Progress("importance", done, len(dependency_groups), "layers", fine=True))
    return errors


def reconstruct(module: nn.Module, smaller: nn.Module, plan: PruningPlan, images: Batches, *, seed: int = 0) -> None:
    """Give the layers of `smaller`, which `plan` makes of `module`, the weights with which what they compute comes
    nearest to what it was. Layers in groups, transposed and very wide ones keep theirs."""
    kept = {
        path: item.into
        for path, item in plan.kept.items()
        if item.into is not None and item.dim is None and _is_readable(module.get_submodule(path))
    }
    for chosen in _in_memory(module, [{path: []} for path in kept]):
        names = [list(kept)[place] for place in chosen]
        for path, gram in _grams(module, names, images, seed).items():
            layer, narrow = module.get_submodule(path), smaller.get_submodule(path)
            columns = torch.from_numpy(_columns(layer, np.asarray(kept[path])).reshape(-1))
            weight = _matrix(layer)
            outputs = plan.kept[path].out
            if outputs is not None:
                weight = weight[list(outputs)]
            nearest = torch.linalg.solve(gram[columns][:, columns], (weight @ gram)[:, columns].T).T
            own = narrow.get_parameter("weight")
            with torch.no_grad():
                own.copy_(nearest.reshape(own.shape).to(own.dtype))


def _is_readable(layer: nn.Module) -> bool:
    """Whether its outputs are products of its weights with what it is given: a subclass may do otherwise."""
    if type(layer).forward not in (nn.Conv2d.forward, nn.Linear.forward):
        return False
    if isinstance(layer, nn.Conv2d):
        plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return plain and layer.weight[0].numel() <= WIDEST
    return isinstance(layer, nn.Linear) and layer.in_features <= WIDEST


def _readers(module: nn.Module, dependencies: DependencyGroup) -> dict[str, list[np.ndarray]]:
    """By the path of each layer that reads the channels, the columns of its weights that read each of them."""
    readers: dict[str, list[np.ndarray]] = {}
    for member in dependencies.members:
        if member.axis != "in":
            continue
        layer = module.get_submodule(member.path)
        if _is_readable(layer):
            by_root = [member.indices[member.roots == root] for root in range(dependencies.channels)]
            readers[member.path] = [_columns(layer, indices).reshape(-1) for indices in by_root]
    return readers


def _columns(layer: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Of the weights as a matrix, those columns that read each of the inputs, int64 (inputs, columns)."""
    width = int(np.prod(layer.kernel_size)) if isinstance(layer, nn.Conv2d) else 1
    return np.asarray(inputs, np.int64)[:, None] * width + np.arange(width)


def _matrix(layer: nn.Module) -> Tensor:
    """float64 (outputs, weights per output)."""
    return layer.get_parameter("weight").detach().flatten(1).double()


def _in_memory(module: nn.Module, readers: Sequence[Mapping[str, object]]) -> Iterator[list[int]]:
    """Places of `readers` whose layers' Gram matrices, with their inverses and copies of these, fit into the memory."""
    chosen: list[int] = []
    paths: set[str] = set()
    for place, mine in enumerate(readers):
        both = paths | set(mine)
        size = sum(3 * 8 * module.get_parameter(f"{path}.weight")[0].numel() ** 2 for path in both)
        if chosen and size > MEMORY_BYTES:
            yield chosen
            chosen, both = [], set(mine)
        chosen.append(place)
        paths = both
    if chosen:
        yield chosen


def _grams(module: nn.Module, paths: Sequence[str] | set[str], images: Batches, seed: int) -> dict[str, Tensor]:
    """By path, the damped Gram matrix of what the layer's weights are multiplied with, float64.

    Attention reads the weights of its output layer without calling it: that one is not there.
    """
    grams: dict[str, Tensor] = {}
    row_counts: dict[str, int] = {}
    # One for each layer, so that what is looked at does not depend on which layers are looked at together.
    generators = {path: torch.Generator().manual_seed(seed) for path in paths}

    def look(path: str, layer: nn.Module, given: Sequence[Tensor], named: Mapping[str, Tensor]) -> None:
        rows = _rows(layer, given[0] if given else named["input"], generators[path])
        grams[path] = (rows.T @ rows).double() + grams.get(path, 0.0)
        row_counts[path] = row_counts.get(path, 0) + len(rows)

    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, given, named, path=path: look(path, layer, given, named), with_kwargs=True
        )
        for path, layer in ((path, module.get_submodule(path)) for path in sorted(paths))
    ]
    try:
        module.eval()
        with torch.no_grad():
            for batch in images():
                module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for path, gram in grams.items():
        gram.diagonal().add_(max(_damping(len(gram), row_counts[path]) * float(gram.diagonal().mean()), 1e-12))
    return grams


def _damping(weights: int, rows: int) -> float:
    """As a share of the mean diagonal: the fewer rows there are for each weight, the less is to be believed of them."""
    return max(DAMPING, weights / rows)


def _rows(layer: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """What the weights of each output are multiplied with at some places of the batch, (rows, weights per output)."""
    if isinstance(layer, nn.Conv2d):
        return _patches(layer, x, generator)
    rows = x.reshape(-1, x.shape[-1])
    return rows[torch.randperm(len(rows), generator=generator)[:ROWS_PER_BATCH]]


def _patches(layer: nn.Conv2d, x: Tensor, generator: torch.Generator) -> Tensor:
    """The same places of each image, (images * places, weights per output); `x` may be a single image."""
    x = x.reshape(-1, *x.shape[-3:])
    vertical, horizontal = (int(size) for size in layer.padding)
    padded = functional.pad(x, (horizontal, horizontal, vertical, vertical))
    axes = zip(padded.shape[2:], layer.kernel_size, layer.dilation, layer.stride, strict=True)
    # By axis: (places, kernel), the indices that the kernel covers at each place.
    rows, columns = (
        torch.arange(0, size - dilation * (kernel - 1), stride)[:, None] + dilation * torch.arange(kernel)
        for size, kernel, dilation, stride in axes
    )
    places = torch.randperm(len(rows) * len(columns), generator=generator)[: max(1, ROWS_PER_BATCH // len(x))]
    y, z = rows[places // len(columns)][:, :, None], columns[places % len(columns)][:, None, :]
    return padded[:, :, y, z].transpose(1, 2).reshape(len(x) * len(places), -1)


class _Part:
    """One layer that reads the channels: its weights and the inverse of its Gram matrix, as channels go.

    Errors are counted as shares of what each output computes, squared and summed over the images; their mean over the
    outputs is the layer's. `columns` are those of each channel.
    """

    def __init__(self, weight: Tensor, gram: Tensor, inverse: Tensor, columns: Sequence[np.ndarray]) -> None:
        energy = ((weight @ gram) * weight).sum(1)
        computes = energy > 0
        scale = (energy[computes] * max(1, int(computes.sum()))).sqrt()
        self._weight = weight[computes] / scale[:, None]
        self._inverse = inverse.clone()
        self._columns = [torch.from_numpy(item) for item in columns]

    def errors(self, roots: Sequence[int]) -> Tensor:
        """How much the error grows when one of these channels goes, for each."""
        errors = torch.zeros(len(roots), dtype=torch.float64)
        by_count: dict[int, list[int]] = {}
        for place, root in enumerate(roots):
            by_count.setdefault(len(self._columns[root]), []).append(place)
        for count, places in by_count.items():
            if count == 1:  # as below, without a solver's call for each number
                columns = torch.cat([self._columns[roots[place]] for place in places])
                errors[places] = self._weight[:, columns].square().sum(0) / self._inverse.diagonal()[columns]
            elif count:
                columns = torch.stack([self._columns[roots[place]] for place in places])
                blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
                weights = self._weight[:, columns].transpose(0, 1)
                solved = torch.linalg.solve(blocks, weights.transpose(1, 2))
                errors[places] = (weights.transpose(1, 2) * solved).sum((1, 2))
        return errors

    def remove(self, roots: Sequence[int]) -> None:
        """The channels go, and the weights of the others make up for them."""
        gone = torch.cat([self._columns[root] for root in roots])
        if not len(gone):
            return
        across = self._inverse[gone]
        solved = torch.linalg.solve(across[:, gone], across)
        self._weight -= self._weight[:, gone] @ solved
        self._inverse -= across.T @ solved


def _errors(parts: Sequence[_Part], channels: int) -> Tensor:
    """Channels go one after another, the one that adds the least error first; what each added, never falling."""
    errors = torch.zeros(channels, dtype=torch.float64)
    left = list(range(channels))
    at_a_time, floor = -(-channels // STEPS), 0.0
    while left:
        added = torch.stack([part.errors(left) for part in parts]).sum(0)
        order = added.argsort(stable=True)[:at_a_time].tolist()
        for place in order:
            # The order is what counts: a channel that went later is not worth less.
            floor = max(float(added[place]), np.nextafter(floor, np.inf))
            errors[left[place]] = floor
        going = [left[place] for place in order]
        for part in parts:
            part.remove(going)
        left = [root for root in left if root not in set(going)]
    return errors
