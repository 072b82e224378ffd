"""Cache of a teacher's logits, for images that are never varied."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgecnn.core.errors import StepError
from edgecnn.core.events import Listener, Progress
from edgecnn.core.stage import Images
from edgecnn.core.store import digest_of, write_atomically

STEP = "teacher"
BATCH = 64
HALF_BYTES = 1 << 28
"""Answers that would fill more in float32 are kept in float16 (ImageNet's: 2.6 GB)."""


def teacher_logits(
    module: nn.Module, images: Images, *, identity: str, folder: Path, device: str, listener: Listener
) -> Tensor:
    """Logits (images, classes) in the order of `images`, float32 or float16 on the CPU; read from `folder` if they were
    computed there before.

    `identity` is the teacher's digest. Raises StepError `teacher-not-finite` when an answer is not a number, and
    `CannotWrite` when the disk refuses.
    """
    file = folder / f"teacher-{digest_of([identity, images.digest])[:16]}.npy"
    logits = _read(file, len(images))
    if logits is None:
        logits = _asked(module.eval(), images, device=device, listener=listener)
        raw = io.BytesIO()
        np.save(raw, logits.numpy(), allow_pickle=False)
        write_atomically(file, raw.getvalue())
    return logits


@torch.no_grad()
def _asked(module: nn.Module, images: Images, *, device: str, listener: Listener) -> Tensor:
    home = next(module.parameters()).device
    module.to(device)
    parts: list[Tensor] = []
    done = 0
    for batch in images.batches(BATCH):
        parts.append(module(torch.from_numpy(batch).to(device)).float().cpu())
        done += len(batch)
        listener(Progress(STEP, done, len(images), "images"))
    module.to(home)
    logits = torch.cat(parts)
    require_numbers(logits)
    fits = float(logits.abs().max()) < torch.finfo(torch.float16).max
    return logits.half() if logits.nbytes > HALF_BYTES and fits else logits


def require_numbers(logits: Tensor) -> None:
    """Raise StepError `teacher-not-finite` unless all of a teacher's answers are numbers."""
    if not torch.isfinite(logits).all():
        raise StepError(
            "teacher-not-finite",
            "the teacher answers NaN or infinity",
            hint="check its weights and the preprocessing: `edgecnn inspect` shows both",
        )


def _read(path: Path, count: int) -> Tensor | None:
    """None where there is nothing, or nothing that fits: then it is computed."""
    try:
        logits = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    fits = logits.ndim == 2 and len(logits) == count and logits.dtype in (np.float16, np.float32)
    return torch.from_numpy(logits) if fits else None
