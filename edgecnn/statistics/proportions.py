"""Proportions: intervals of one, of the difference of two that are paired, and the images it takes to decide."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
POWER = 0.80
MANY = 200
"""So many changed images make a steep distribution, which takes more nodes."""
UNREACHABLE = 100_000_000
"""More images than any data set has."""


def fewest_images(max_drop: float, *, confidence: float = CONFIDENCE) -> int | None:
    """How many images prove `max_drop` for a candidate that answers as the baseline does on every one of them; None
    where no number does. With labels or without: no disagreement in N images bounds its share by
    1 - (1 - confidence)^(1 / N)."""
    if max_drop <= 0:
        return None
    exact = math.log1p(-confidence) / math.log1p(-max_drop)
    return math.ceil(exact) if exact <= UNREACHABLE else None


def drop_confidence(broke: ArrayLike, fixed: ArrayLike, count: ArrayLike, drop: ArrayLike) -> NDArray[np.float64]:
    """The confidence that the true drop is at most `drop`, when of `count` images `broke` became wrong and `fixed`
    became right; arrays are broadcast. It errs on the safe side: the confidence that a true drop is smaller than it is
    reaches 1 - a with a probability of a at most. `tests/statistics` enumerates that.

    The drop is T (2 B - 1): T the share of images that change, B the share of these that break. Their exact (Clopper
    and Pearson's) confidence distributions are melded: the upper ones for the change that is feared, and the lower T
    where B says that the network improved. Source: M. P. Fay and K. Lumbard, Confidence intervals for difference in
    proportions for matched pairs compatible with exact McNemar's or sign tests, Statistics in Medicine 40 (2021)
    1147-1159.
    """
    import numpy as np
    from scipy.special import betainc, betaln, xlog1py, xlogy

    broke, fixed, count, drop = (np.asarray(value, np.float64)[..., None] for value in (broke, fixed, count, drop))
    changed, losing, first, second = broke + fixed, drop >= 0, broke + 1, np.maximum(fixed, 1)
    nodes, weights = _quadrature(512 if changed.max() > MANY else 192)

    # The density of B: above one half for a loss, below it for a gain; beyond 14 deviations nothing is left.
    mean = first / (first + second)
    reach = 14 * np.sqrt(mean * (1 - mean) / (first + second + 1))
    low = np.maximum(mean - reach, np.where(losing, 0.5, 0.0))
    width = np.maximum(np.minimum(mean + reach, np.where(losing, 1.0, 0.5)) - low, 0.0)
    breaking = low + width * nodes
    density = width * np.exp(xlogy(first - 1, breaking) + xlog1py(second - 1, -breaking) - betaln(first, second))

    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(np.nan_to_num(drop / (2 * breaking - 1), nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    share_is_above = np.where(changed > 0, 1 - _beta_cdf(changed, count - changed + 1, share), 0.0)
    integral = (density * np.where(losing, _beta_cdf(changed + 1, count - changed, share), share_is_above)) @ weights

    broke, fixed, count, drop, changed = (value[..., 0] for value in (broke, fixed, count, drop, changed))
    better = betainc(broke + 1, np.maximum(fixed, 1), 0.5)
    everything = betainc(broke + 1, np.maximum(fixed, 1), np.clip((1 + drop) / 2, 0, 1))  # where T is 1
    at_most = np.where(changed < count, better + integral, everything)
    one_way = np.where(
        changed < count, _beta_cdf(changed + 1, count - changed, np.clip(drop, 0, 1)), drop >= 1
    )  # upper B is 1
    confidence: NDArray[np.float64] = np.where(
        drop >= 0, np.where(fixed > 0, at_most, one_way), np.where(fixed > 0, integral, 0.0)
    )
    return confidence


def _beta_cdf(
    first: NDArray[np.float64], second: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The distribution function of Beta(`first`, `second`), of parameters that are 1 or more; where `first` is large it
    is left out beyond 9 deviations, for it takes long."""
    import numpy as np
    from scipy.special import betainc

    first, second, share = np.broadcast_arrays(np.maximum(first, 1), np.maximum(second, 1), share)
    mean = first / (first + second)
    near = np.abs(share - mean) < 9 * np.sqrt(mean * (1 - mean) / (first + second + 1))
    tail = np.asarray(share > mean, np.float64)
    betainc(first, second, share, out=tail, where=near | (first <= MANY))
    return tail


@cache
def _quadrature(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """So many nodes in (0, 1), and the weights of Gauss and Legendre's rule."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def drop_bounds(broke: int, fixed: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Lower and upper bound of the drop, each one-sided: either is on the wrong side of the truth with a probability
    of 1 - `confidence` at most (see `drop_confidence`)."""
    from scipy.optimize import brentq

    def upper(broke: int, fixed: int) -> float:
        if broke == count:
            return 1.0

        def surplus(drop: float) -> float:
            return float(drop_confidence(broke, fixed, count, drop)) - confidence

        return float(brentq(surplus, (broke - fixed) / count, 1.0, xtol=1e-9))

    return -upper(fixed, broke), upper(broke, fixed)


def _restricted(broke: float, fixed: float, drop: float) -> float:
    """The maximum-likelihood share of fixed images when the drop is `drop`, from the observed shares. Source: T. Tango,
    Equivalence test and confidence interval for the difference in proportions for the paired-sample design, Statistics
    in Medicine 17 (1998) 891-908."""
    linear = -broke - fixed + (2 - broke + fixed) * drop
    constant = -fixed * drop * (1 - drop)
    return max(0.0, -drop, (math.sqrt(max(0.0, linear * linear - 8 * constant)) - linear) / 4)


def images_to_decide(drop: float, discordance: float, max_drop: float, *, confidence: float = CONFIDENCE) -> int | None:
    """About how many images have 80 % power to show that a true `drop` is within or above `max_drop`; None when they
    are equal.

    N = ((z_confidence s0 + z_0.80 s1) / (max_drop - drop))^2 + 1 / |max_drop - drop| with s1^2 = discordance - drop^2,
    and s0^2 the variance of the score test at the budget; the last term is for whole numbers, as in the continuity
    correction. Source: J. Nam, Establishing equivalence of two treatments and sample size requirements in
    matched-pairs design, Biometrics 53 (1997) 1422-1430.
    """
    from scipy.stats import norm

    slack = abs(max_drop - drop)
    if slack < 1e-12:
        return None
    fixed = _restricted((discordance + drop) / 2, (discordance - drop) / 2, max_drop)
    at_budget = math.sqrt(2 * fixed + max_drop * (1 - max_drop))
    as_seen = math.sqrt(max(0.0, discordance - drop * drop))
    root = (float(norm.ppf(confidence)) * at_budget + float(norm.ppf(POWER)) * as_seen) / slack
    needed = math.ceil(root * root + 1 / slack)
    return needed if needed <= UNREACHABLE else None


def clopper_pearson_upper(events: int, count: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of a proportion. Source: Clopper and Pearson, Biometrika 26 (1934) 404-413."""
    from scipy.stats import binomtest

    return float(binomtest(events, count, alternative="less").proportion_ci(confidence, method="exact").high)


def images_to_agree(share: float, max_drop: float, *, confidence: float = CONFIDENCE) -> int | None:
    """Images for 80 % power to bound a true disagreement `share` by `max_drop` (exact binomial); None when it is not
    below."""
    from scipy.stats import binom

    if share >= max_drop:
        return None

    def enough(count: int) -> bool:
        # The most disagreements that still pass, then the chance of no more than that.
        passing = int(binom.ppf(1 - confidence, count, max_drop))
        while passing >= 0 and binom.cdf(passing, count, max_drop) > 1 - confidence:
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
