"""Saving a checkpoint that opens without further options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import write_atomically
from edgecnn.models.pruned import PLAN_KEY, PruningPlan
from edgecnn.models.weights import METADATA_KEY


def save(
    path: Path,
    module: nn.Module,
    *,
    architecture: str,
    num_classes: int | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
    plan: PruningPlan | None = None,
    history: Sequence[str] = (),
) -> None:
    """Write weights and what is known about them as .safetensors, for `open_model` to read back bit for bit.

    `plan` says which channels of the architecture a pruned network has, `history` names what made it, oldest first.
    """
    from safetensors.torch import save as to_bytes

    about: dict[str, Any] = {"architecture": architecture, "num_classes": num_classes}
    if preprocessing is not None:
        about["preprocessing"] = preprocessing.to_dict()
    if class_names is not None:
        about["class_names"] = list(class_names)
    if plan is not None:
        about[PLAN_KEY] = plan.to_dict()
    if history:
        about["history"] = list(history)
    state = {key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()}
    raw = to_bytes(state, metadata={METADATA_KEY: json.dumps(about), "format": "pt"})
    write_atomically(Path(path), _in_order(raw))


def _in_order(raw: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors writes them in an order that differs from run to run, and a
    file of the same content has to have the same digest.

    The file begins with the header's length (8 bytes, little endian) and the header, JSON filled up with spaces.
    """
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[start:]
