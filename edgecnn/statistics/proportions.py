"""Proportions: intervals of one, of the difference of two that are paired, and the images it takes to decide."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
POWER = 0.80
UNREACHABLE = 100_000_000
"""More images than any data set has."""


def fewest_images(max_drop: float, *, labels: bool) -> int | None:
    """How many images prove `max_drop` for a candidate that answers as the baseline does on every one of them; None
    where no number does."""
    from scipy.stats import norm

    if max_drop <= 0:
        return None
    # Without a disagreement Tango's bound is z^2 / (N + z^2), Clopper and Pearson's 1 - 0.05^(1 / N).
    z_squared = float(norm.ppf(CONFIDENCE)) ** 2
    exact = z_squared * (1 - max_drop) / max_drop if labels else math.log(1 - CONFIDENCE) / math.log1p(-max_drop)
    return math.ceil(exact) if exact <= UNREACHABLE else None


def tango_statistic(broke: int, fixed: int, count: int, drop: float) -> float:
    """Tango's score statistic of the hypothesis that the true drop is `drop`; standard normal under it, decreasing in
    `drop`.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998) 891-908, equations 24 to 26.
    """
    difference = broke - fixed - count * drop
    if difference == 0:
        return 0.0
    variance = count * (2 * _restricted(broke / count, fixed / count, drop) + drop * (1 - drop))
    return difference / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, difference)


def _restricted(broke: float, fixed: float, drop: float) -> float:
    """The maximum-likelihood share of fixed images when the drop is `drop`, from the observed shares."""
    linear = -broke - fixed + (2 - broke + fixed) * drop
    constant = -fixed * drop * (1 - drop)
    return max(0.0, -drop, (math.sqrt(max(0.0, linear * linear - 8 * constant)) - linear) / 4)


def tango_bounds(broke: int, fixed: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Lower and upper bound of the drop, each one-sided at `confidence`: where the score statistic is +z and -z."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, drop, edge = float(norm.ppf(confidence)), (broke - fixed) / count, 1 - 1e-12

    def bound(sign: int, end: float) -> float:
        if abs(drop - end) < 1e-12:
            return end
        root = brentq(
            lambda d: tango_statistic(broke, fixed, count, d) + sign * z, *sorted((drop, end * edge)), xtol=1e-12
        )
        return float(root)

    return bound(-1, -1.0), bound(+1, 1.0)


def images_to_decide(drop: float, discordance: float, max_drop: float) -> int | None:
    """Images for 80 % power to show that a true `drop` is within or above `max_drop`; None when they are equal.

    N = ((z_0.95 s0 + z_0.80 s1) / (max_drop - drop))^2 with s1^2 = discordance - drop^2, and s0^2 the variance of the
    score test at the budget. Source: J. Nam, Establishing equivalence of two treatments and sample size requirements
    in matched-pairs design, Biometrics 53 (1997) 1422-1430.
    """
    from scipy.stats import norm

    slack = abs(max_drop - drop)
    if slack < 1e-12:
        return None
    fixed = _restricted((discordance + drop) / 2, (discordance - drop) / 2, max_drop)
    at_budget = math.sqrt(2 * fixed + max_drop * (1 - max_drop))
    as_seen = math.sqrt(max(0.0, discordance - drop * drop))
    root = (float(norm.ppf(CONFIDENCE)) * at_budget + float(norm.ppf(POWER)) * as_seen) / slack
    needed = math.ceil(root * root)
    return needed if needed <= UNREACHABLE else None


def clopper_pearson_upper(events: int, count: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of a proportion. Source: Clopper and Pearson, Biometrika 26 (1934) 404-413."""
    from scipy.stats import binomtest

    return float(binomtest(events, count, alternative="less").proportion_ci(confidence, method="exact").high)


def images_to_agree(share: float, max_drop: float) -> int | None:
    """Images for 80 % power to bound a true disagreement `share` by `max_drop` (exact binomial); None when it is not
    below."""
    from scipy.stats import binom

    if share >= max_drop:
        return None

    def enough(count: int) -> bool:
        # The most disagreements that still pass, then the chance of no more than that.
        passing = int(binom.ppf(1 - CONFIDENCE, count, max_drop))
        while passing >= 0 and binom.cdf(passing, count, max_drop) > 1 - CONFIDENCE:
            passing -= 1
        return passing >= 0 and float(binom.cdf(passing, count, share)) >= POWER

    high = 1
    while not enough(high):
        high *= 2
        if high > UNREACHABLE:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def wilson(events: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, two-sided; (0, 1) of nothing.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    from scipy.stats import binomtest

    if not count:
        return 0.0, 1.0
    low, high = binomtest(events, count).proportion_ci(level, method="wilson")
    return float(low), float(high)
