"""Versions that modules keep in a state_dict's `_metadata`: what `load_state_dict` has to be told beside the tensors.

A plain dictionary has none, and modules that look for theirs then fail (torchvision's MNASNet) or take the weights for
older ones (`nn.Module._load_from_state_dict`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

Versions = Mapping[str, Mapping[str, int]]
"""Path of a module ("" for the network itself) to what its state says of its version."""


def versions_in(state: Any) -> dict[str, dict[str, int]]:
    """What a state_dict from a file that may come from anywhere says; whatever is no whole number is left aside."""
    stated = getattr(state, "_metadata", None)
    if not isinstance(stated, Mapping):
        return {}
    found = {
        str(path): {str(name): number for name, number in facts.items() if type(number) is int}
        for path, facts in stated.items()
        if isinstance(facts, Mapping)
    }
    return {path: facts for path, facts in found.items() if facts}


def below(versions: Versions, prefix: str) -> dict[str, Mapping[str, int]]:
    """The same for keys from which `prefix` ("module.") was taken off."""
    top = prefix.removesuffix(".")
    inside = {path: facts for path, facts in versions.items() if path == top or path.startswith(prefix)}
    return {path[len(prefix) :]: facts for path, facts in inside.items()}


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], versions: Versions | None = None) -> None:
    """Load tensors under exactly the module's keys. What `versions` does not say is of the network's own version."""
    own: Versions = getattr(module.state_dict(), "_metadata", {})
    complete: OrderedDict[str, torch.Tensor] = OrderedDict(state)
    stated = versions or {}
    complete._metadata = {path: {**facts, **stated.get(path, {})} for path, facts in own.items()}  # type: ignore[attr-defined]
    module.load_state_dict(complete)
