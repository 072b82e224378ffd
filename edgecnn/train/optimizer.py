"""Optimizer and its parameter groups: frozen modules, a learning rate per stage, weight decay where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.train.settings import TrainSettings

SHARE = "share"
"""A parameter group's share of the learning rate."""
FEWEST_STAGES = 4


def build(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, over what is not frozen.

    Weight decay is for matrices and kernels: scales and biases are not shrunk. Raises InputError when nothing is left
    to train.
    """
    groups = _groups(module, settings)
    if not groups:
        raise InputError("nothing-to-train", "no weight of this network is left to train", hint="freeze less")
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for g in groups for p in g["params"])
    if settings.optimizer == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=nesterov, fused=fused
        )
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SHARE]


def _groups(module: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """One group for each pair of (share of the rate, weight decay)."""
    chosen = stages(module) if settings.layer_decay < 1 else [[module]]
    depth: dict[int, int] = {}
    for number, stage in enumerate(chosen):
        depth.update((id(parameter), number) for part in stage for parameter in part.parameters())
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            number = depth.get(id(parameter), 0)
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            share = settings.layer_decay ** (len(chosen) - 1 - number)
            group = groups.setdefault((number, decay), {"params": [], "weight_decay": decay, SHARE: share})
            group["params"].append(parameter)
    return list(groups.values())


def stages(module: nn.Module) -> list[list[nn.Module]]:
    """The network cut into stages from input to output, as its author's top-level modules have it.

    Containers are opened, largest first, while there are fewer than four stages; a normalisation belongs to what is
    before it. Rates per stage: J. Howard and S. Ruder, ULMFiT, 2018, arXiv:1801.06146, section 3.2.
    """
    parts = _with_weights(module.children())
    while len(_joined(parts)) < FEWEST_STAGES:
        containers = [part for part in parts if len(_with_weights(part.children())) > 1]
        if not containers:
            break
        largest = max(containers, key=_size)
        at = parts.index(largest)
        parts[at : at + 1] = _with_weights(largest.children())
    return _joined(parts) or [[module]]


def _with_weights(parts: Iterator[nn.Module]) -> list[nn.Module]:
    return [part for part in parts if _size(part)]


def _size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _joined(parts: Sequence[nn.Module]) -> list[list[nn.Module]]:
    joined: list[list[nn.Module]] = []
    for part in parts:
        if joined and all(parameter.ndim <= 1 for parameter in part.parameters()):
            joined[-1].append(part)
        else:
            joined.append([part])
    return joined


@contextmanager
def frozen(module: nn.Module, names: Sequence[str]) -> Iterator[list[nn.Module]]:
    """The modules called `names` (paths, or regular expressions over whole paths) without gradients inside the block.

    Gives their batch-norm layers, whose statistics are to stay as well. Raises InputError for a name that matches no
    module.
    """
    chosen = [part for name in names for part in _called(module, name)]
    parameters = {id(p): p for part in chosen for p in part.parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    try:
        yield list({id(n): n for part in chosen for n in part.modules() if isinstance(n, _NormBase)}.values())
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(True)


def _called(module: nn.Module, name: str) -> list[nn.Module]:
    known = dict(module.named_modules())
    if name in known:
        return [known[name]]
    try:
        matches = [part for path, part in known.items() if path and re.fullmatch(name, path)]
    except re.error as error:
        raise InputError("bad-freeze", f"'{name}' is no regular expression", why=str(error)) from error
    if not matches:
        raise InputError(
            "no-such-module", f"no module of this network is called '{name}'", hint=did_you_mean(name, _outer(known))
        )
    return matches


def _outer(known: dict[str, nn.Module]) -> list[str]:
    """Names worth suggesting: those of the first two levels."""
    return [path for path in known if path and path.count(".") < 2]
