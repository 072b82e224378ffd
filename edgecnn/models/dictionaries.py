"""Dictionaries that training scripts save: under which name the weights lie in them, and the plain facts beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.third_party import sanitize
from edgecnn.core.units import first_few
from edgecnn.models.files import RESAVE
from edgecnn.models.graph_operators import GraphFacts
from edgecnn.models.versions import Versions, versions_in

# timm reads the average that its own training and torchvision's reference scripts save before the plain weights, whose
# recorded accuracy is that of the average (timm/models/_helpers.py, load_state_dict: use_ema=True).
_TIMMS_FIRST = ("state_dict_ema", "model_ema")
_HOLDERS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
# An average under another name is taken only when there is nothing else.
_AVERAGES = (*_TIMMS_FIRST, "ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema")
DEEPEST = 16
"""Dictionaries and lists in each other: a hostile file may hold one that contains itself."""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Tensors as a file stores them, and the plain facts beside them; `is_named` says that they are the ones that were
    asked for by name, `form` where they lay."""

    state: Mapping[Any, Any]
    metadata: dict[str, Any]
    form: str
    versions: Versions = field(default_factory=dict)
    graph: GraphFacts | None = None
    notes: tuple[str, ...] = ()
    is_named: bool = False


def unwrap(content: Any, path: Path, name: str | None = None, depth: int = 0) -> StoredWeights:
    """The state_dict in what torch.load gave, and every plain fact beside it. Raises InputError `no-weights`, or
    `no-such-weights` where there are none called `name`."""
    if depth > DEEPEST:
        raise no_weights(path, f"its dictionaries lie in each other more than {DEEPEST} deep")
    if not isinstance(content, Mapping):
        raise no_weights(path, f"it holds a {type(content).__name__}, not a dictionary of tensors")
    if _is_state(content):
        beside = {str(key): value for key, value in content.items() if not isinstance(value, torch.Tensor)}
        return StoredWeights(_tensors(content), _facts(beside), "state_dict", versions_in(content))
    found = _held(content)
    if not found:
        keys = ", ".join(repr(sanitize(str(key), 80)) for key in list(content)[:6]) or "nothing"
        raise no_weights(path, f"it holds {keys}; none is a dictionary of named tensors")
    chosen = _called(name, found) or found[0]
    facts = _facts({str(key): value for key, value in content.items() if key not in found})
    is_named = name is not None and chosen == _called(name, found)
    inner = unwrap(content[chosen], path, None if is_named else name, depth + 1)
    if name is not None and not is_named and not inner.is_named and not _begins(inner.state, name):
        raise no_such_weights(path, name, found)
    others = ", ".join(repr(item) for item in found if item != chosen)
    note = f"the file also holds weights under {others}; '{chosen}' was used. --weights NAME takes another"
    return StoredWeights(
        inner.state,
        {**inner.metadata, **facts},
        f"dict with '{chosen}'" + (f" > {inner.form}" if inner.form != "state_dict" else ""),
        inner.versions,
        notes=(note, *inner.notes) if others and not is_named else inner.notes,
        is_named=is_named or inner.is_named,
    )


def _held(content: Mapping[Any, Any]) -> list[str]:
    """Keys of a dictionary under which weights lie, the one to take first."""
    usual = dict.fromkeys((*_TIMMS_FIRST, *_HOLDERS, *_AVERAGES))
    known = [name for name in usual if _holds_state(content.get(name))]
    others = [key for key, value in content.items() if isinstance(key, str) and _holds_state(value)]
    return known + [name for name in others if name not in usual and "optim" not in name]


def _called(name: str | None, found: list[str]) -> str | None:
    if name in found:
        return name
    return next((item for item in _AVERAGES if item in found), None) if name == "ema" else None


def _begins(state: Mapping[Any, Any], name: str) -> bool:
    return any(str(key).startswith(f"{name.removesuffix('.')}.") for key in state)


def no_such_weights(path: Path, name: str, there: list[str]) -> InputError:
    return InputError(
        "no-such-weights",
        f"{path} has no weights called '{name}'",
        why=f"it has {first_few(map(repr, there), 8)}",
        hint=did_you_mean(name, there),
    )


def no_weights(path: Path, why: str) -> InputError:
    return InputError("no-weights", f"no weights were found in {path}", why=why, hint=RESAVE)


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(item, torch.Tensor) and "." in str(key) for key, item in value.items()
    )


def _holds_state(value: Any) -> bool:
    return _is_state(value) or (isinstance(value, Mapping) and any(_is_state(value.get(name)) for name in _HOLDERS))


def _tensors(content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {
        str(key): value.detach()
        for key, value in content.items()
        if isinstance(value, torch.Tensor) and key != "n_averaged"
    }


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, flattened one level for the places where scripts keep their arguments."""
    facts: dict[str, Any] = {}
    for key, value in content.items():
        inner = vars(value) if type(value).__name__ == "Namespace" else value
        if key in ("args", "hyper_parameters", "hparams", "config", "cfg", "metadata", "meta") and isinstance(
            inner, Mapping
        ):
            facts = {**{str(k): v for k, v in inner.items() if _is_plain(v)}, **facts}
        elif _is_plain(inner) and not key.startswith(
            ("optim", "scheduler", "lr_sched", "scaler", "callbacks", "loops")
        ):
            facts[key] = inner
    return facts


def _is_plain(value: Any, depth: int = 0) -> bool:
    if depth > DEEPEST:
        return False
    if isinstance(value, Mapping):
        return len(value) < 100_000 and all(_is_plain(item, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, int) and value.bit_length() > 64:
        return False
    return isinstance(value, (str, int, float, bool, type(None)))
