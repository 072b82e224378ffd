"""Registry of the architectures of torchvision and timm: their names, and building one with or without memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edgecnn.core.errors import MissingError, StepError, install_hint
from edgecnn.models.library_names import LIBRARIES, has_timm, is_known, unknown_architecture

Shapes = Mapping[str, tuple[int, ...]]
"""Names of weights and their shapes."""
# Heads used in training only; a checkpoint may have them or not.
TRAINING_HEADS = ("aux1.", "aux2.", "AuxLogits.")
_WITH_AUX = ("googlenet", "inception_v3")


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered architecture: `library` is torchvision or timm, `name` the library's own."""

    library: str
    name: str

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"

    @property
    def base(self) -> str:
        """The name without timm's weights tag: `resnet50` for `resnet50.a1_in1k`."""
        return self.name.split(".", 1)[0]


@dataclass(frozen=True, slots=True)
class Form:
    """How an entry is to be built: outputs, input channels, and whether with the heads that serve training only."""

    num_classes: int
    in_channels: int = 3
    training_heads: bool = True


@cache
def names(library: str) -> tuple[str, ...]:
    """What the installed library can build for classification, in its own order; nothing when it is not installed."""
    if library == "torchvision":
        import torchvision

        return tuple(torchvision.models.list_models(module=torchvision.models))
    if not has_timm():
        return ()
    import timm

    return tuple(timm.list_models())


def find(name: str, *, library: str | None = None) -> list[Entry]:
    """The entries a user may mean by `name`, torchvision's first. Raises InputError or MissingError."""
    wanted = LIBRARIES if library is None else (library,)
    if library == "timm" and not has_timm():
        raise MissingError(
            "missing-timm", f"'timm:{name}' needs timm, which is not installed", hint=install_hint("timm")
        )
    entries = [entry for entry in (Entry(which, name) for which in wanted) if is_installed(entry)]
    if not entries:
        raise unknown_architecture(name, library)
    return entries


def is_installed(entry: Entry) -> bool:
    """The catalog is asked first: a library takes seconds to import."""
    known = is_known(entry.library, entry.name)
    return entry.base in names(entry.library) if known is None else known


def build(entry: Entry, form: Form, **options: Any) -> nn.Module:
    """The network with fresh weights on the current default device, in eval mode. `options` are the library's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _build(entry, form, options).eval()
        except (NotImplementedError, MemoryError):
            raise
        except Exception as error:
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise StepError("cannot-build", f"{entry.library} cannot build '{entry.name}'", why=last[0]) from error


def _build(entry: Entry, form: Form, more: Mapping[str, Any]) -> nn.Module:
    options: dict[str, Any] = {"num_classes": form.num_classes, **more}
    if entry.library == "timm":
        import timm

        channels: dict[str, Any] = {} if form.in_channels == 3 else {"in_chans": form.in_channels}
        module: nn.Module = timm.create_model(entry.name, pretrained=False, **channels, **options)
        return module
    import torchvision

    options["weights"] = None
    if entry.name in _WITH_AUX:
        options |= {"init_weights": False, "aux_logits": form.training_heads}
    built: nn.Module = torchvision.models.get_model(entry.name, **options)
    return built


class _WeightsOnMeta(TorchFunctionMode):
    """Sends weights to the meta device and leaves the numbers a constructor computes with: `linspace(...).tolist()`."""

    _MADE_BY = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in self._MADE_BY:
            options["device"] = "meta"
        return func(*args, **options)


class _NoRandomWeights(TorchFunctionMode):
    """Skips random initialisation: every weight is about to be replaced."""

    _RANDOM = frozenset(
        {
            torch.Tensor.normal_,
            torch.Tensor.uniform_,
            nn.init.normal_,
            nn.init.uniform_,
            nn.init.trunc_normal_,
            nn.init.kaiming_normal_,
            nn.init.kaiming_uniform_,
            nn.init.xavier_normal_,
            nn.init.xavier_uniform_,
            nn.init.orthogonal_,
        }
    )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in self._RANDOM:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def build_empty(entry: Entry, form: Form) -> nn.Module:
    """The network with weights that mean nothing yet; other constants are in place. Load a full state_dict into it."""
    with _NoRandomWeights():
        return build(entry, form)


@lru_cache(maxsize=16)
def outline(entry: Entry, form: Form) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of the network, without allocating a weight; `num_batches_tracked` is left out."""
    for mode in (lambda: torch.device("meta"), _WeightsOnMeta, contextlib.nullcontext):
        try:
            with mode():
                module = build(entry, form)
        except (StepError, NotImplementedError):
            if mode is contextlib.nullcontext:
                raise
            continue
        return shapes(module.state_dict())
    raise AssertionError("unreachable")


def shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Key to shape, without the `num_batches_tracked` counters that old checkpoints lack."""
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}


def without_training_heads(keys: Iterator[str] | Mapping[str, Any]) -> list[str]:
    return [key for key in keys if not key.startswith(TRAINING_HEADS)]


def form_for(entry: Entry, given: Mapping[str, tuple[int, ...]]) -> tuple[Form, dict[str, tuple[int, ...]]]:
    """The form in which `entry` comes nearest to the shapes given, and the outline it then has.

    The head is found by building with a number of classes nobody uses and looking where it appears.
    """
    asked = 1009
    trial = Form(asked, training_heads=any(key.startswith(TRAINING_HEADS) for key in given))
    plan = outline(entry, trial)
    heads = [key for key, shape in plan.items() if shape[:1] == (asked,) and given.get(key)]
    counts = {given[key][0] for key in heads}
    if len(counts) != 1:
        return trial, plan
    form = replace(trial, num_classes=counts.pop())
    if entry.library == "timm":
        form = replace(form, in_channels=_channels(plan, given))
    if form.in_channels == trial.in_channels:
        return form, {
            key: (form.num_classes, *shape[1:]) if shape[:1] == (asked,) else shape for key, shape in plan.items()
        }
    return form, outline(entry, form)


def _channels(plan: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> int:
    stems = [key for key, shape in plan.items() if len(shape) == 4 and shape[1] == 3 and len(given.get(key, ())) == 4]
    counts = {given[key][1] for key in stems}
    return counts.pop() if len(counts) == 1 else 3
