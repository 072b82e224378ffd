"""Search for stages that keep the accuracy budget: what was tried, what it lost, and what was delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edgecnn.core.outcome import Outcome

State = Literal["within", "over", "hopeless", "no better", "not possible", "failed"]
NOTHING_SMALLER = (
    "its accuracy is within the budget, and no fallback makes a file smaller: prune more, or distill-small"
)


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One attempt, judged on the images reserved for searching; the recipe as written on all of them, then on those.

    `drop` and its one-sided bounds are against the checkpoint, in the report's metric (a share of top-1); None where
    it was not run. `state` is within or over the budget (as far as the number of certifying images can prove it), or
    why it was not run. `seconds` is what it took; next to nothing where it was cached.
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
    """The search for one format. The first of `attempts` is the recipe as written.

    `chosen` is the label of what is delivered, `outcome` its verdict on the `certifying` images, which chose nothing;
    None where no search was needed or possible.
    """

    format: str
    searching: int
    certifying: int
    attempts: tuple[TrialRow, ...]
    chosen: str
    outcome: Outcome | None
    why: str


def not_searched(certifying: int, needed: int | None, budget: str) -> str:
    """Why no search is started: too few certifying images even for a file that changes no answer; that takes
    `needed`."""
    more = f": about {2 * needed:,} evaluation images could" if needed else ", and no number would: allow a little"
    return f"not searched: {certifying:,} images to certify on prove no drop of at most {budget}{more}"


def certified(label: str, images: int) -> str:
    return f"{label}: certified on {images:,} images that did not choose it"


def not_certified(label: str, images: int) -> str:
    others = f"{images:,} images that did not choose it"
    return f"{label} was within the budget where it was chosen, and is not certified on {others}"


def closest(label: str, shortfall: str) -> str:
    """Where nothing is within the budget; `shortfall` is how much the closest is over it."""
    return f"no attempt is within the budget; {label} came closest, {shortfall}"
