"""Training a network on the user's images: `edgecnn train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecnn.workflows.train.request import TrainRequest, out_for, settings_of

if TYPE_CHECKING:
    from edgecnn.workflows.train.result import Trained
    from edgecnn.workflows.train.running import is_first, train

__all__ = ["TrainRequest", "Trained", "is_first", "out_for", "settings_of", "train"]

_WHERE = {"train": "running", "is_first": "running", "Trained": "result"}


def __getattr__(name: str) -> Any:
    """`train` imports torch: only when it is asked for."""
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
