"""Parity: whether an exported file still computes what the torch model computes."""

from __future__ import annotations

import math

import numpy as np
import torch

from edgecnn.core.errors import StepError
from edgecnn.core.events import Listener, Progress
from edgecnn.core.stage import Images, Model
from edgecnn.models.one_image import largest_batch


def torch_outputs(model: Model, images: Images, *, listener: Listener) -> np.ndarray:
    """Outputs of the torch model in FP32 on the CPU, float32 (N, ...)."""
    module = model.module()
    parts: list[np.ndarray] = []
    done, size = 0, largest_batch(module, model.input_shape, 8)
    with torch.inference_mode():
        for batch in images.batches(size):
            parts.append(module(torch.from_numpy(batch)).float().numpy())
            done += len(batch)
            listener(Progress("verify", done, len(images), "images", "PyTorch"))
    outputs = np.concatenate(parts)
    if not np.isfinite(outputs).all():
        raise StepError(
            "not-finite",
            f"{model.name} answers NaN or infinity in PyTorch already",
            hint="check the weights and the preprocessing: `edgecnn inspect` shows both",
        )
    return outputs


def parity(reference: np.ndarray, candidate: np.ndarray) -> dict[str, float | int | None]:
    """Compare outputs (N, ...): `max_abs_diff` in their unit, mean `cosine` over the images, `sqnr_db` over all of them
    (None when equal), `images`."""
    reference64, candidate64 = (
        outputs.reshape(len(outputs), -1).astype(np.float64) for outputs in (reference, candidate)
    )
    noise = float(np.square(reference64 - candidate64).sum())
    signal = float(np.square(reference64).sum())
    lengths = np.linalg.norm(reference64, axis=1) * np.linalg.norm(candidate64, axis=1)
    cosine = np.einsum("nc,nc->n", reference64, candidate64) / np.maximum(lengths, 1e-30)
    return {
        "images": len(reference),
        "max_abs_diff": float(np.abs(reference64 - candidate64).max()),
        "cosine": float(cosine.mean()),
        "sqnr_db": None if noise == 0.0 else 10.0 * math.log10(max(signal, 1e-30) / noise),
    }
