"""Sequential looks: judging after a part of the images, without a larger error for having looked more than once.

Each look has its own share of the error, and the shares add up to what is allowed: whatever the looks have in common,
one of them errs with a probability of their sum at most (Bonferroni). The bounds of a look are exact, so the sum is a
true limit. Sources: E. Slud and L. J. Wei, Two-sample repeated significance tests based on the modified Wilcoxon
statistic, JASA 77 (1982) 862-868; K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for clinical trials,
Biometrika 70 (1983) 659-663.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.statistics.proportions import CONFIDENCE

FIRST = 50
"""Images of the first look: enough to see that a network has collapsed."""
GROWTH = 2
LAST_SHARE = 0.5
"""Of the error, which the last look has: on all images little is lost for having looked before."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the first `images`; its bounds hold with `confidence`, each one-sided."""

    images: int
    confidence: float


def looks(count: int, *, confidence: float = CONFIDENCE) -> tuple[Look, ...]:
    """When to look at `count` images: after 50, 100, 200 ... and at the end. One alone where there are fewer than two
    times 50."""
    sizes = []
    size = FIRST
    while size * GROWTH <= count:
        sizes.append(size)
        size *= GROWTH
    error = 1 - confidence
    if not sizes:
        return (Look(count, confidence),)
    early = error * (1 - LAST_SHARE) / len(sizes)
    return (*(Look(size, 1 - early) for size in sizes), Look(count, 1 - error * LAST_SHARE))
