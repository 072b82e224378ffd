"""Random numbers of torch during training: a function of seed, epoch, batch and process, nothing else.

So a resumed run draws what an uninterrupted one would, whatever was drawn in between, and no generator's state needs
to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORD = (1 << 64) - 1


class Randomness:
    """Dropout and the like draw from torch's global generators: these, on one device."""

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self._start = _mixed(_mixed(seed & _WORD) + rank)
        self._own = torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else None

    def set(self, epoch: int, batch: int) -> None:
        """Before each batch; takes about a microsecond."""
        seed = _mixed(_mixed(self._start + epoch) + batch)
        torch.default_generator.manual_seed(seed)
        if self._own is not None:
            self._own.manual_seed(seed)


def _mixed(value: int) -> int:
    """64 bits of SplitMix64. Source: G. Steele et al., Fast Splittable Pseudorandom Number Generators, 2014."""
    value = (value + 0x9E3779B97F4A7C15) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


@contextmanager
def restored(device: torch.device) -> Iterator[None]:
    """torch's generators and cuDNN's switches are as before afterwards; inside, cuDNN chooses exact algorithms."""
    exact = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = exact
