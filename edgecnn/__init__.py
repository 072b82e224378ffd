"""From a trained CNN checkpoint to an edge board, with proof.

The functions here are the workflows of the command line, with its words and its defaults:

    import edgecnn

    report = edgecnn.optimize("resnet18.pth", data="photos/", target="raspberry-pi-5")
    report.verdict

They are imported when they are first used; `import edgecnn` itself loads nothing.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgecnn.probe.privacy import disable_telemetry

if TYPE_CHECKING:
    from edgecnn.core.errors import EdgecnnError
    from edgecnn.workflows import devices, recipes
    from edgecnn.workflows.audit import audit
    from edgecnn.workflows.benchmark import benchmark
    from edgecnn.workflows.check.command import check
    from edgecnn.workflows.convert import export, quantize
    from edgecnn.workflows.distill import distill
    from edgecnn.workflows.evaluate import evaluate
    from edgecnn.workflows.inspect import inspect
    from edgecnn.workflows.optimize.command import optimize, plan
    from edgecnn.workflows.profile import profile
    from edgecnn.workflows.prune import prune
    from edgecnn.workflows.train.command import train

disable_telemetry(os.environ)  # before anything imports a library that reports

__version__ = "0.1.0"
__all__ = [
    "EdgecnnError",
    "audit",
    "benchmark",
    "check",
    "devices",
    "distill",
    "evaluate",
    "export",
    "inspect",
    "optimize",
    "plan",
    "profile",
    "prune",
    "quantize",
    "recipes",
    "train",
]

_FUNCTIONS = {
    "audit": "edgecnn.workflows.audit",
    "benchmark": "edgecnn.workflows.benchmark",
    "check": "edgecnn.workflows.check.command",
    "distill": "edgecnn.workflows.distill",
    "evaluate": "edgecnn.workflows.evaluate",
    "export": "edgecnn.workflows.convert",
    "inspect": "edgecnn.workflows.inspect",
    "optimize": "edgecnn.workflows.optimize.command",
    "plan": "edgecnn.workflows.optimize.command",
    "profile": "edgecnn.workflows.profile",
    "prune": "edgecnn.workflows.prune",
    "quantize": "edgecnn.workflows.convert",
    "train": "edgecnn.workflows.train.command",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    from importlib import import_module

    if name in ("devices", "recipes"):
        value: Any = import_module(f"edgecnn.workflows.{name}")
    elif name == "EdgecnnError":
        value = import_module("edgecnn.core.errors").EdgecnnError
    elif name in _FUNCTIONS:
        workflow = getattr(import_module(_FUNCTIONS[name]), name)
        value = import_module("edgecnn.cli.python").with_progress(workflow)
    else:
        raise AttributeError(f"module 'edgecnn' has no attribute {name!r}")
    return value


class _Room(ModuleType):
    """A room of this package that has a function's name: `edgecnn.train(...)` trains, `edgecnn.train.settings` is a
    module of it."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return __getattr__(self.__name__.rpartition(".")[2])(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(__getattr__(self.__name__.rpartition(".")[2]))


class _Package(ModuleType):
    """This package. A room that is imported becomes its attribute, and hides the function of the same name: so the
    room answers to calls itself."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FUNCTIONS and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
