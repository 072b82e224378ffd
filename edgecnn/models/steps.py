"""Steps of a network: every operator that PyTorch runs for one input, with its layer, its line and what it computes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

LIBRARIES = (str(Path(torch.__file__).parent), __file__)
"""Frames of these files are not the user's."""


@dataclass(frozen=True, slots=True)
class OperatorStep:
    """One operator: `layer` is the path of the module that runs it, `line` the place in the code that asks for it.

    `sources` are the earlier steps whose results it reads, -1 the input; `values` its first floating-point result.
    """

    op: str
    layer: str
    line: str
    sources: frozenset[int]
    values: torch.Tensor | None

    def __str__(self) -> str:
        asked = ", ".join(filter(None, (self.op, self.line)))
        return f"{self.layer} ({asked})" if self.layer else asked


class StepRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the steps that run while it is entered; `running` is the one that has begun and not ended."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[OperatorStep] = []
        self.running: OperatorStep | None = None
        self._maker: dict[int, int] = {}
        self._alive: list[Any] = []
        self._layers: list[str] = []
        for name, part in module.named_modules():
            part.register_forward_pre_hook(partial(self._enter, name))
            part.register_forward_hook(self._leave)

    def _enter(self, name: str, *ignored: Any) -> None:
        self._layers.append(name)

    def _leave(self, *ignored: Any) -> None:
        self._layers.pop()

    def start(self, image: torch.Tensor) -> None:
        """Say which tensor is the input."""
        self._alive.append(image)
        self._maker[id(image)] = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = {self._maker[id(item)] for item in _tensors(args, kwargs) if id(item) in self._maker}
        layer = self._layers[-1] if self._layers else ""
        name = str(func).removeprefix("aten.").partition(".")[0]
        self.running = OperatorStep(name, layer, _users_line(), frozenset(read), None)
        result = func(*args, **(kwargs or {}))
        made = list(_tensors((result,), None))
        first = next((item for item in made if item.is_floating_point()), None)
        values = None if first is None else first.detach().clone()
        self.steps.append(OperatorStep(name, layer, self.running.line, self.running.sources, values))
        self.running = None
        self._alive += made  # an id is a tensor's own as long as it lives
        self._maker.update((id(item), len(self.steps) - 1) for item in made)
        return result


def _tensors(args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    for item in torch.utils._pytree.tree_leaves((args, kwargs or {})):
        if isinstance(item, torch.Tensor):
            yield item


def _users_line() -> str:
    """`net.py line 12`: the innermost place in the stack that is not PyTorch's; empty where there is none."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code is not record.__code__:
        if _is_users(frame):
            return f"{Path(frame.f_code.co_filename).name} line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_users(frame: Any) -> bool:
    return not frame.f_code.co_filename.startswith((*LIBRARIES, "<"))


def record(module: nn.Module, image: torch.Tensor) -> tuple[list[OperatorStep], str]:
    """The steps of `module` for `image` (N, C, H, W), and where it failed, empty where it did not. `module` gets hooks:
    pass a fresh copy."""
    recorder = StepRecorder(module)
    recorder.start(image)
    try:
        with torch.no_grad(), recorder:
            module(image)
    except Exception as error:  # what a network raises is its own affair
        places = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_users(frame)]
        asked = f"{Path(places[-1][0].f_code.co_filename).name} line {places[-1][1]}" if places else "an unknown layer"
        return recorder.steps, str(recorder.running or asked)
    return recorder.steps, ""
