"""Range estimators, judged by the error of the quantization they lead to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.formats.quantize_stage import Quantize
from edgecnn.quantize.estimate import estimate
from edgecnn.quantize.histogram import Histogram
from edgecnn.quantize.ranges import Range, asymmetric, symmetric

OBSERVERS = ("minmax", "percentile", "mse", "entropy")
COUNT = 200_000


def clipped(scale: float, *, zeros: float = 0.0, seed: int = 0) -> np.ndarray:
    """ReLU6 of noise; `zeros` is the share of values that are zero besides."""
    random = np.random.default_rng(seed)
    return np.where(random.random(COUNT) < zeros, 0.0, np.clip(random.standard_normal(COUNT) * scale, 0.0, 6.0))


def per_channel() -> np.ndarray:
    """ReLU of channels whose scales differ by powers of e."""
    random = np.random.default_rng(1)
    return np.maximum(random.standard_normal((64, 3000)), 0.0) * np.exp(random.standard_normal((64, 1)))


def swish() -> np.ndarray:
    values = np.random.default_rng(2).standard_normal(COUNT) * 2
    return values / (1 + np.exp(-values))


ACTIVATIONS = {
    "relu": np.maximum(np.random.default_rng(3).standard_normal(COUNT), 0.0),
    "relu, mostly zero": np.maximum(np.random.default_rng(4).standard_normal(COUNT) - 1.5, 0.0),
    "relu, channels": per_channel(),
    "relu6": clipped(3.0),
    "relu6, saturated": clipped(8.0),
    "relu6, 90 % zeros": clipped(2.0, zeros=0.9),
    "relu6, 99 % zeros": clipped(2.0, zeros=0.99),
    "relu6, few values": clipped(3.0)[:3000],
    "silu": swish(),
    "normal": np.random.default_rng(5).standard_normal(COUNT),
}
HEAVY = {
    "student": np.random.default_rng(6).standard_t(3, size=COUNT),
    "student, relu": np.maximum(np.random.default_rng(7).standard_t(3, size=COUNT), 0.0),
    "laplace": np.random.default_rng(8).laplace(size=COUNT),
}


def seen(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values.astype(np.float32), min(7, len(values))):
        histogram.add(part)
    return histogram


def chosen(values: np.ndarray, observer: str, *, centred: bool, **options: float) -> Range:
    return estimate(seen(values), Quantize(observer=observer, **options), symmetric=centred)


def sqnr_db(values: np.ndarray, kept: Range, *, centred: bool) -> float:
    grid = symmetric(kept) if centred else asymmetric(kept, signed=False)
    codes = np.clip(np.rint(values / grid.scale) + grid.zero_point, grid.low_code, grid.high_code)
    noise = np.square(values - (codes - grid.zero_point) * grid.scale).sum()
    return float(10 * np.log10(np.square(values).sum() / noise))


def best_db(values: np.ndarray, *, centred: bool) -> float:
    """What shrinking both ends of the range together can reach."""
    low, high = values.min(), values.max()
    shares = np.linspace(0.1, 1.0, 46)
    return max(sqnr_db(values, Range(low * share, high * share), centred=centred) for share in shares)


def test_minmax_is_what_was_seen() -> None:
    values = np.array([-1.5, 0.25, 7.0])
    assert chosen(values, "minmax", centred=False) == Range(-1.5, 7.0)


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentiles_are_those_of_the_values(percent: float) -> None:
    values = np.random.default_rng(9).standard_normal(COUNT)
    kept = chosen(values, "percentile", centred=False, percentile=percent)
    low, high = np.percentile(values, [100 - percent, percent])
    width = seen(values).width
    assert kept.low == pytest.approx(low, abs=2 * width)
    assert kept.high == pytest.approx(high, abs=2 * width)


def test_the_hundredth_percentile_is_the_maximum() -> None:
    values = HEAVY["student"]
    assert chosen(values, "percentile", centred=False, percentile=100.0) == chosen(values, "minmax", centred=False)


def test_a_percentile_of_a_relu_keeps_zero_at_the_bottom() -> None:
    kept = chosen(ACTIVATIONS["relu"], "percentile", centred=False)
    assert kept.low == 0.0


@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("name", HEAVY)
def test_mse_beats_minmax_on_heavy_tails(name: str, centred: bool) -> None:
    values = HEAVY[name]
    loose, tight = (
        sqnr_db(values, chosen(values, kind, centred=centred), centred=centred) for kind in ("minmax", "mse")
    )
    assert tight > loose + 0.5


@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("name", [*ACTIVATIONS, *HEAVY])
def test_mse_finds_the_least_error(name: str, centred: bool) -> None:
    values = {**ACTIVATIONS, **HEAVY}[name]
    kept = chosen(values, "mse", centred=centred)
    assert sqnr_db(values, kept, centred=centred) > best_db(values, centred=centred) - 0.2


@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_entropy_never_collapses(name: str, centred: bool) -> None:
    """The published algorithm gives 0.76 for ReLU6 activations that are mostly zero, and the network guesses."""
    values = ACTIVATIONS[name]
    kept = chosen(values, "entropy", centred=centred)
    assert kept.high >= 0.6 * values.max()
    assert sqnr_db(values, kept, centred=centred) > best_db(values, centred=centred) - 5.0


@pytest.mark.parametrize("name", ["relu6, saturated", "relu6, 90 % zeros", "relu6, 99 % zeros", "relu6, few values"])
@pytest.mark.parametrize("observer", ["mse", "entropy"])
@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
def test_a_saturated_top_is_kept(name: str, observer: str, centred: bool) -> None:
    """Values pile up at 6 exactly: cutting any of that costs more than the finer steps bring."""
    values = ACTIVATIONS[name]
    saturated = (values == 6.0).mean() > 0.001
    kept = chosen(values, observer, centred=centred)
    assert kept.high > (5.9 if saturated else 4.5)


@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
def test_entropy_clips_outliers(centred: bool) -> None:
    values = np.append(ACTIVATIONS["relu"], [30.0, 40.0, 50.0])
    kept = chosen(values, "entropy", centred=centred)
    assert 4.0 < kept.high < 25.0
    bulk = ACTIVATIONS["relu"]
    loose = chosen(values, "minmax", centred=centred)
    assert sqnr_db(bulk, kept, centred=centred) > sqnr_db(bulk, loose, centred=centred) + 3


@pytest.mark.parametrize("centred", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("name", [*ACTIVATIONS, *HEAVY])
def test_no_observer_goes_beyond_what_was_seen(name: str, observer: str, centred: bool) -> None:
    values = {**ACTIVATIONS, **HEAVY}[name]
    kept = chosen(values, observer, centred=centred)
    width = seen(values).width
    assert min(values.min(), 0.0) - width <= kept.low <= kept.high <= max(values.max(), 0.0) + width
    assert kept.high > kept.low


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 4.0, -4.0])
def test_a_constant_tensor_has_a_range_that_holds_it(observer: str, value: float) -> None:
    kept = chosen(np.full(1000, value), observer, centred=False)
    grid = asymmetric(kept, signed=False)
    code = np.clip(np.rint(value / grid.scale) + grid.zero_point, 0, 255)
    assert (code - grid.zero_point) * grid.scale == pytest.approx(value, abs=0.02 * abs(value))


@pytest.mark.parametrize("observer", OBSERVERS)
def test_what_is_not_finite_stays_visible(observer: str) -> None:
    kept = chosen(np.array([1.0, math.nan, 2.0]), observer, centred=False)
    assert not all(map(math.isfinite, kept))
