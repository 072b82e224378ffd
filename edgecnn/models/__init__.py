"""Models: reading weights safely, and finding or building the network they belong to."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn.models.open import LoadedModel, open_model, reopen
    from edgecnn.models.saving import save
    from edgecnn.models.weights import Weights, read_weights

_WHERE = {
    "LoadedModel": "open",
    "open_model": "open",
    "reopen": "open",
    "save": "saving",
    "Weights": "weights",
    "read_weights": "weights",
}

__all__ = ["LoadedModel", "Weights", "open_model", "read_weights", "reopen", "save"]


def __getattr__(name: str) -> Any:
    """torch is imported when something here is first used, not before."""
    if name in _WHERE:
        return getattr(import_module(f"edgecnn.models.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
