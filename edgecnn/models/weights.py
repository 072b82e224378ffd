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
from edgecnn.models.dictionaries import StoredWeights, no_such_weights, no_weights, unwrap
from edgecnn.models.files import RESAVE, kind_of, truncated
from edgecnn.models.graph_operators import GraphFacts
from edgecnn.models.plain_tensors import validate_tensors
from edgecnn.models.versions import Versions, below

_WRAPPED = re.compile(r"\.(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PREFIXES = ("module.", "_orig_mod.", "model.")
METADATA_KEY = "edgecnn"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a checkpoint holds. `state` is float32 on the CPU; `form` says how it was stored ("state_dict", "dict with
    'model_state_dict'", "safetensors", "pt2"); `prefix` was taken off every key; `dtype` is the one in the file.
    `versions` are those of modules that version their state; `graph` is what a .pt2 file says of its network."""

    state: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    form: str
    prefix: str = ""
    dtype: str = "float32"
    notes: tuple[str, ...] = field(default=())
    versions: Versions = field(default_factory=dict)
    graph: GraphFacts | None = None


def read_weights(path: Path, *, name: str | None = None) -> Weights:
    """The tensors and the plain facts in a checkpoint: .pth, .pt, .th, .ckpt, .safetensors or .pt2, told by content.

    `name` says which of several weights in a file: `ema`, `state_dict` or another key of its dictionary, or what the
    names of those tensors begin with (`student`). Raises InputError for anything else, for a file that would have to
    run code to be read, and for weights not finite.
    """
    path = Path(path)
    with parsing(path, "checkpoint"):
        return _read_weights(path, name)


def _read_weights(path: Path, name: str | None) -> Weights:
    kind = kind_of(path)
    if kind in plugins.names("formats"):
        raise InputError(
            "exported-model",
            f"{path} is an exported model ({plugins.load('formats', kind).title}), not a checkpoint",
            why="layers are already fused there; compression starts from PyTorch weights",
            hint=f"give the .pth it was made from; to look into the file: edgecnn inspect {path}",
        )
    if kind == "safetensors":
        stored = StoredWeights(*_read_safetensors(path), "safetensors")
    elif kind == "pt2":
        from edgecnn.models.pt2 import read_archive, read_graph

        graph = read_graph(path)
        metadata = {"input_size": graph.input_shape} if graph and graph.input_shape else {}
        stored = StoredWeights(read_archive(path), metadata, "pt2", graph=graph)
    else:
        stored = unwrap(_load(path), path, name)
    notes = list(stored.notes)
    whole = validate_tensors(stored.state, path)
    if name is not None and not stored.is_named:
        whole = _only(whole, name, path)
    state, prefix = _without_prefix(whole)
    state, dtype = _as_float32(state, path, notes)
    _check_finite(state, path)
    versions = below(stored.versions, prefix) if prefix else stored.versions
    return Weights(state, stored.metadata, stored.form, prefix, dtype, tuple(notes), versions, stored.graph)


def _only(state: dict[str, torch.Tensor], name: str, path: Path) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `name`. Raises InputError `no-such-weights`."""
    found = {key: value for key, value in state.items() if key.startswith(f"{name.removesuffix('.')}.")}
    if found:
        return found
    raise no_such_weights(path, name, sorted({key.partition(".")[0] for key in state}))


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
        raise no_weights(path, "it holds no tensor")
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


def _without_prefix(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Take off what DataParallel, torch.compile and Lightning put before every key, and what wrappers of single layers
    put into them."""
    taken = ""
    while prefix := next((item for item in _PREFIXES if all(key.startswith(item) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        taken += prefix
    return {_WRAPPED.sub(".", key): value for key, value in state.items()}, taken


def _as_float32(state: dict[str, torch.Tensor], path: Path, notes: list[str]) -> tuple[dict[str, torch.Tensor], str]:
    if any(value.is_quantized for value in state.values()):
        raise InputError(
            "quantized-weights",
            f"{path} holds weights that are already quantized",
            hint="give the float checkpoint it was made from",
        )
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()})
    if not kinds:
        raise no_weights(path, "none of its tensors holds real numbers")
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
