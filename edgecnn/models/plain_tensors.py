"""Plain tensors: what weights from a file that may come from anywhere have to be before anything computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgecnn.core.errors import InputError
from edgecnn.core.third_party import sanitize
from edgecnn.models.files import RESAVE, most_bytes, oversized

FLOAT32_BYTES = 4


def validate_tensors(state: Mapping[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    """The same by text keys.

    Raises InputError `unusable-weights` for what is no dense tensor of numbers, `oversized-file` where all together
    would take far more memory than the file has bytes: a view may repeat a few bytes for ever.
    """
    asked_bytes = 0
    for key, value in state.items():
        if problem := _problem(str(key), value):
            raise InputError(
                "unusable-weights",
                f"{path} holds what cannot be used as weights",
                why=f"'{sanitize(key, 80)}' {problem}",
                hint=RESAVE,
            )
        asked_bytes += value.numel() * max(FLOAT32_BYTES, value.element_size())
    if asked_bytes > most_bytes(path):
        raise oversized(path, asked_bytes)
    return {str(key): value for key, value in state.items()}


def _problem(key: str, value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"is of type {type(value).__name__}, not a tensor"
    kinds = {
        "is a nested tensor": value.is_nested,
        "is a sparse tensor": value.layout != torch.strided,
        "is a meta tensor: it has a shape, and no values": value.is_meta,
        "holds complex numbers": value.is_complex(),
    }
    if found := next((words for words, holds in kinds.items() if holds), ""):
        return found
    whole = not value.is_floating_point() and not value.is_quantized and value.dtype != torch.bool
    if whole and value.ndim and key.rpartition(".")[2] in ("weight", "bias"):
        return f"holds {str(value.dtype).removeprefix('torch.')} numbers, and nothing says of which scale"
    return ""
