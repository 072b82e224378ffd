"""Schedule of the learning rate over the steps of a run, as a share of its peak."""

from __future__ import annotations

import math

from edgecnn.train.settings import TrainSettings

# One-cycle learning rate as in L. Smith and N. Topin, Super-Convergence, 2018, arXiv:1708.07120.
START_SHARE = 1 / 25
END_SHARE = 1 / 1e4


def share(settings: TrainSettings, step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` (from 0) of `steps`."""
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "cosine":
        return cosine(step, steps, warmup=settings.warmup)
    return one_cycle(step, steps, warmup=settings.warmup)


def one_cycle(step: int, steps: int, *, warmup: float) -> float:
    """Up along half a cosine during the share `warmup` of the steps, then down to almost nothing."""
    peak = max(1.0, warmup * steps - 1)
    if step <= peak:
        return START_SHARE + (1 - START_SHARE) * _half_cosine(step / peak)
    return 1 - (1 - END_SHARE) * _half_cosine((step - peak) / max(1.0, steps - 1 - peak))


def cosine(step: int, steps: int, *, warmup: float) -> float:
    """Up along a line during the share `warmup` of the steps, then down along half a cosine.

    Source: I. Loshchilov and F. Hutter, SGDR, 2016, arXiv:1608.03983, one period; warm-up as in P. Goyal et al., 2017,
    arXiv:1706.02677.
    """
    rising = min(round(warmup * steps), steps - 1)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 1 - _half_cosine((step - rising) / max(1, steps - rising))


def _half_cosine(share: float) -> float:
    return (1 - math.cos(math.pi * min(1.0, share))) / 2
