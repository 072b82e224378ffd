"""How the ladder was climbed: what was tried, what it lost, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.core.outcome import Outcome
from edgecnn.tasks.classification.verdict import Judgement

State = Literal["within", "over", "hopeless", "no better", "not possible", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt, judged on the images kept for searching; the recipe as written on all of them, then on those.

    `drop` and its one-sided 95 % bounds are shares of top-1 against FP32; None where it was not run. `state` is within
    or over the budget (as far as the number of certifying images can prove it), or why it was not run. `seconds` is
    what it took; next to nothing where it was found finished.
    """

    rung: str
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


def lost(judgement: Judgement) -> float:
    """The drop; without labels the share of answers that changed, which bounds it."""
    return judgement.drop if judgement.drop is not None else 1 - (judgement.agreement or 0.0)


def may_lose(judgement: Judgement) -> float:
    """The upper bound of the drop (95 %), which is what has to be within the budget."""
    return 1.0 if judgement.drop_high is None else judgement.drop_high


def loss_in_words(judgement: Judgement) -> str:
    if judgement.drop is None:
        return f"agreement {judgement.agreement or 0:.2%}"
    return f"drop {100 * judgement.drop:.2f} points"


def beyond(share: float) -> str:
    """How far a loss is over the budget."""
    return f"{100 * share:.2f} points over it" if share > 0 else "within it, but not by enough to be proven"
