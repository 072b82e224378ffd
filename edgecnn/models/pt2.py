"""Weights in a torch.export archive (.pt2), read without the pickled parts.

`torch.export.load` unpickles tensors, constants and custom objects with `weights_only=False` (torch 2.14,
`torch/export/pt2_archive/_package.py`), so the archive is read here: JSON says where each raw tensor lies. A pickled
tensor is opened with `weights_only=True`. The graph is never run: its operators tell architectures of equal weights
apart.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import torch

from edgecnn.core.errors import InputError
from edgecnn.models.files import RESAVE, most_bytes, oversized, truncated
from edgecnn.models.graph_operators import GraphFacts, facts_of

# torch/_export/serde/schema.py, ScalarType
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


def read_archive(path: Path) -> dict[str, torch.Tensor]:
    """Key to tensor, of the one model in a .pt2 file. Raises InputError when it cannot be read safely."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise truncated(path, f"its weights cannot be read: {error}") from error


def read_graph(path: Path) -> GraphFacts | None:
    """What the graph in a .pt2 file says; None where it cannot be read, or there is more than one."""
    try:
        with zipfile.ZipFile(path) as archive:
            older = "serialized_exported_program.json"
            programs = [name for name in archive.namelist() if "/models/" in f"/{name}" and name.endswith(".json")]
            programs = programs or [name for name in archive.namelist() if name.endswith(older)]
            return facts_of(json.loads(archive.read(programs[0]))) if len(programs) == 1 else None
    except (zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _read(archive: zipfile.ZipFile, path: Path) -> dict[str, torch.Tensor]:
    members = archive.namelist()
    configs = [name for name in members if name.endswith("_weights_config.json") and "data/weights/" in name]
    if len(configs) > 1:
        raise InputError(
            "several-models",
            f"{path} holds {len(configs)} models",
            why=", ".join(Path(name).name.removesuffix("_weights_config.json") for name in configs),
            hint="save each with torch.export.save in a file of its own",
        )
    if not configs:
        return _read_older(archive, path)
    folder = configs[0].rsplit("/", 1)[0]
    entries = json.loads(archive.read(configs[0]))["config"]
    blobs: dict[str, bytearray] = {}
    state = {}
    for key, entry in entries.items():
        member = f"{folder}/{entry['path_name']}"
        if entry["use_pickle"]:
            state[key] = _unpickled(archive.read(member), path)[""]
            continue
        if member not in blobs:
            blobs[member] = bytearray(archive.read(member))
        state[key] = _raw(blobs[member], entry["tensor_meta"], path)
    return state


def _raw(blob: bytearray, meta: dict[str, Any], path: Path) -> torch.Tensor:
    sizes = [int(item["as_int"]) for item in meta["sizes"]]
    if meta["dtype"] not in _DTYPES:
        raise ValueError(f"a tensor has the unknown type number {meta['dtype']}")
    dtype = _DTYPES[meta["dtype"]]
    asked_bytes = math.prod(sizes) * dtype.itemsize
    if asked_bytes > most_bytes(path):
        raise oversized(path, asked_bytes)
    if not blob:
        if asked_bytes:
            raise ValueError("a tensor has no bytes")
        return torch.zeros(sizes, dtype=dtype)
    flat = torch.frombuffer(blob, dtype=dtype)
    strides = [int(item["as_int"]) for item in meta["strides"]]
    return torch.as_strided(flat, sizes, strides, int(meta["storage_offset"]["as_int"])).clone()


def _read_older(archive: zipfile.ZipFile, path: Path) -> dict[str, torch.Tensor]:
    """torch 2.7 and before: the state_dict is one torch.save file inside."""
    inside = [
        name
        for name in archive.namelist()
        if name.endswith("serialized_state_dict.pt") or ("data/weights/" in name and name.endswith(".pt"))
    ]
    if not inside:
        raise InputError("no-weights", f"{path} holds no weights", hint=RESAVE)
    return _unpickled(archive.read(inside[0]), path)


def _unpickled(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    import pickle

    try:
        value = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise InputError(
            "unsafe-file",
            f"{path} holds pickled objects, which could run code when opened",
            why="a tensor in the archive is stored as a Python object",
            hint=RESAVE,
        ) from error
    return value if isinstance(value, dict) else {"": value}
