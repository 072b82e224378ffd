"""How the ladder was climbed: what was tried, what it lost, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edgecnn.core.outcome import Outcome

State = Literal["within", "over", "hopeless", "no better", "not possible", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt, judged on the images kept for searching; the recipe as written on all of them, then on those.

    `drop` and its one-sided 95 % bounds are shares of top-1 against FP32; None where it was not run. `state` is within
    or over the budget (as far as the number of certifying images can prove it), or why it was not run. `seconds` is
    what it took; next to nothing where it was found finished.
    """

    fallback: Annotated[str, Field(alias="rung")]
    label: str
    state: State
    why: str = ""
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    agreement: float | None = None
    size_bytes: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Search:
    """One format's way up. The first of `attempts` is the recipe as written.

    `chosen` is the label of what is delivered, `outcome` its verdict on the `certifying` images, which chose nothing;
    None where nothing had to be climbed or nothing could be.
    """

    format: str
    searching: int
    certifying: int
    attempts: tuple[Trial, ...]
    chosen: str
    outcome: Outcome | None
    why: str
