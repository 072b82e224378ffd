"""Parity: how far the raw outputs of two models lie apart, such as those of a checkpoint and of its exported file."""

from __future__ import annotations

import math

import numpy as np


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
