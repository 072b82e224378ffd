"""Fallbacks: what to try when the plain recipe misses the accuracy budget, cheapest first.

A recipe lists them under `ladder`. A fallback turns the recipe's stages into others. It runs nothing: the stages are
executed and cached like any. Those that cost no latency come before those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from edgecnn.core.stage import Stage

Stages = tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the search has learnt so far. `agreement` with FP32 is the best of any attempt, a share, None where nothing
    could be compared; `worst_layers(count)` names the layers that lose most when they alone are INT8, worst first;
    `saturates` where the kernels that compute the files on this host add 8-bit products in 16 bits; `destroying()` are
    groups of layers whose tensors INT8 destroys, each worth leaving in float together."""

    agreement: float | None
    worst_layers: Callable[[int], Sequence[str]]
    saturates: bool = False
    destroying: Callable[[], Sequence[Sequence[str]]] = tuple


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing to try: the stages, and how the table calls it."""

    label: str
    stages: Stages


class Fallback(BaseModel):
    """One fallback. Its YAML entry is itself the checked value: the fields are the options.

    A subclass sets `kind` (the word in YAML) and the stage it `changes`, without which it can do nothing; says whether
    it `costs_latency`, whether it `trains` (needs images to learn from), whether it `is_basis` (the later ones start
    from it where it loses less than the recipe as written), and gives its attempts. Register it under the entry-point
    group `edgecnn.fallbacks`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]
    changes: ClassVar[str] = ""
    costs_latency: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    is_basis: ClassVar[bool] = False

    def applies(self, known: Known) -> bool:
        """Whether what it mends can happen at all; one that does not apply is passed over without a word."""
        return True

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        """What to try on top of `stages`, cheapest first; nothing where the fallback does not apply."""
        raise NotImplementedError

    def skip_reason(self, known: Known) -> str:
        """Why it is not worth trying, empty where it is."""
        return ""

    def options(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
