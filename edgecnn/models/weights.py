"""Weights from a file that may come from anywhere: nothing in it is ever executed."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgecnn.core import plugins
from edgecnn.core.errors import InputError
from edgecnn.core.third_party import parsing
from edgecnn.core.units import first_few
from edgecnn.models.files import RESAVE, kind_of, truncated
from edgecnn.models.plain_tensors import validate_tensors

# Under which name training scripts keep the state_dict; a moving average is taken only when there is nothing else.
_HOLDERS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_AVERAGES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")
METADATA_KEY = "edgecnn"
DEEPEST = 16
"""Dictionaries and lists in each other: a hostile file may hold one that contains itself."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a checkpoint holds. `state` is float32 on the CPU; `form` says how it was stored ("state_dict", "dict with
    'model_state_dict'", "safetensors", "pt2"); `prefix` was taken off every key; `dtype` is the one in the file."""

    state: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    form: str
    prefix: str = ""
    dtype: str = "float32"
    notes: tuple[str, ...] = field(default=())


def read_weights(path: Path) -> Weights:
    """The tensors and the plain facts in a checkpoint: .pth, .pt, .th, .ckpt, .safetensors or .pt2, told by content.

    Raises InputError for anything else, for a file that would have to run code to be read, and for weights not finite.
    """
    path = Path(path)
    with parsing(path, "checkpoint"):
        return _read_weights(path)


def _read_weights(path: Path) -> Weights:
    kind = kind_of(path)
    if kind in plugins.names("formats"):
        raise InputError(
            "exported-model",
            f"{path} is an exported model ({plugins.load('formats', kind).title}), not a checkpoint",
            why="layers are already fused there; compression starts from PyTorch weights",
            hint=f"give the .pth it was made from; to look into the file: edgecnn inspect {path}",
        )
    notes: list[str] = []
    if kind == "safetensors":
        state, metadata = _read_safetensors(path)
        form = "safetensors"
    elif kind == "pt2":
        from edgecnn.models.pt2 import read_archive

        state, metadata, form = read_archive(path), {}, "pt2"
    else:
        state, metadata, form = _unwrap(_load(path), path, notes)
    state, prefix = _without_prefix(validate_tensors(state, path))
    state, dtype = _as_float32(state, path, notes)
    _check_finite(state, path)
    return Weights(state, metadata, form, prefix, dtype, tuple(notes))


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except (EOFError, zipfile.BadZipFile, struct.error) as error:
        raise truncated(path, "it ends in the middle") from error
    except (RuntimeError, ValueError, OSError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise truncated(
            path, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        ) from error


def _harmless() -> list[Any]:
    """Plain values scripts leave beside the weights: numpy numbers, paths, parsed arguments. None of them runs code."""
    import argparse
    from pathlib import PosixPath, PurePosixPath

    import numpy as np

    number = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    return [
        argparse.Namespace,
        PosixPath,
        PurePosixPath,
        number,
        (number, "numpy.core.multiarray.scalar"),
        np.dtype,
        *dtypes,
    ]


def _refusal(path: Path, text: str) -> InputError:
    named = re.search(r"(?:Unsupported global: )?GLOBAL ([\w.]+)", text)
    if not named and "Unsupported" not in text and "Weights only" not in text:
        return truncated(path, text.strip().splitlines()[0] if text.strip() else "it ends in the middle")
    what = f"opening it would have to call {named[1]}" if named else "it holds Python objects, not only tensors"
    return InputError(
        "unsafe-file",
        f"{path} cannot be opened without running code from it",
        why=f"{what}; a whole pickled model or training state looks like this, and so does an attack. Nothing was run",
        hint=RESAVE,
    )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            raw = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise truncated(path, str(error)) from error
    if not state:
        raise _no_weights(path, "it holds no tensor")
    return state, _unfold(raw, path)


def _unfold(raw: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Safetensors metadata is text; ours is JSON under one key. Raises InputError `damaged-metadata`."""
    import json

    metadata: dict[str, Any] = {key: value for key, value in raw.items() if key != METADATA_KEY}
    try:
        own = json.loads(raw.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise _damaged(f"the metadata of {path} is damaged", f"under '{METADATA_KEY}' is no JSON: {error}") from error
    if not isinstance(own, dict):
        why = f"under '{METADATA_KEY}' is a {type(own).__name__}, not an object"
        raise _damaged(f"the metadata of {path} is damaged", why)
    classes = own.get("num_classes")
    for key, fits in (
        ("num_classes", classes is None or (type(classes) is int and classes > 0)),
        ("architecture", isinstance(own.get("architecture"), str | None)),
    ):
        if not fits:
            raise _damaged(f"the metadata of {path} is damaged", f"'{key}' is {str(repr(own[key]))[:40]}")
    return {**metadata, **own}


def require_classes(weights: Weights, found: int) -> None:
    """Raises InputError `damaged-metadata` where metadata that this program wrote says another number of classes than
    the weights have. What other programs leave beside weights may be of another run."""
    said = weights.metadata.get("num_classes")
    if weights.form == "safetensors" and type(said) is int and said != found:
        raise _damaged(
            "the checkpoint's metadata contradicts its weights", f"it says {said} classes, and the weights have {found}"
        )


def _damaged(what: str, why: str) -> InputError:
    return InputError(
        "damaged-metadata",
        what,
        why=why,
        hint="copy or make the file again, or take its weights alone: "
        "safetensors.torch.save_file(safetensors.torch.load_file(FILE), NEW)",
    )


def _unwrap(
    content: Any, path: Path, notes: list[str], depth: int = 0
) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    """The state_dict in what torch.load gave, and every plain fact beside it."""
    if depth > DEEPEST:
        raise _no_weights(path, f"its dictionaries lie in each other more than {DEEPEST} deep")
    if not isinstance(content, Mapping):
        raise _no_weights(path, f"it holds a {type(content).__name__}, not a dictionary of tensors")
    if _is_state(content):
        facts = {str(key): value for key, value in content.items() if not isinstance(value, torch.Tensor)}
        return _tensors(content), _facts(facts), "state_dict"
    found = [name for name in (*_HOLDERS, *_AVERAGES) if _holds_state(content.get(name))]
    if not found:
        found = [str(key) for key, value in content.items() if _holds_state(value) and "optim" not in str(key)]
    if not found:
        keys = ", ".join(map(repr, list(content)[:6])) or "nothing"
        raise _no_weights(path, f"it holds {keys}; none is a dictionary of named tensors")
    name = found[0]
    if len(found) > 1:
        notes.append(f"the file also holds weights under {', '.join(map(repr, found[1:]))}; '{name}' was used")
    inner = content[name]
    facts = {str(key): value for key, value in content.items() if key not in found}
    if not _is_state(inner):
        deeper, more, form = _unwrap(inner, path, notes, depth + 1)
        return deeper, {**more, **_facts(facts)}, f"dict with '{name}' > {form}"
    return _tensors(inner), _facts(facts), f"dict with '{name}'"


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


def _without_prefix(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Take off what DataParallel, torch.compile and Lightning put before every key."""
    taken = ""
    while prefix := next((item for item in _PREFIXES if all(key.startswith(item) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        taken += prefix
    return state, taken


def _as_float32(state: dict[str, torch.Tensor], path: Path, notes: list[str]) -> tuple[dict[str, torch.Tensor], str]:
    if any(value.is_quantized for value in state.values()):
        raise InputError(
            "quantized-weights",
            f"{path} holds weights that are already quantized",
            hint="give the float checkpoint it was made from",
        )
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()})
    if not kinds:
        raise _no_weights(path, "none of its tensors holds real numbers")
    if kinds != ["float32"]:
        notes.append(f"the weights are stored as {', '.join(kinds)} and were turned into float32")
    turned = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in state.items()}
    return {key: value.contiguous() for key, value in turned.items()}, ", ".join(kinds)


def _check_finite(state: Mapping[str, torch.Tensor], path: Path) -> None:
    bad = [key for key, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise InputError(
            "weights-not-finite",
            f"{path} holds NaN or infinite weights",
            why=f"in {first_few(bad)}",
            hint="take an earlier checkpoint: this training run diverged",
        )


def _no_weights(path: Path, why: str) -> InputError:
    return InputError("no-weights", f"no weights were found in {path}", why=why, hint=RESAVE)
