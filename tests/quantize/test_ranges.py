"""Ranges and the grids over them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.core.errors import StepError
from edgecnn.quantize.ranges import DEAD_WIDTH, LEAST_WIDTH, Grid, Range, RangeTable, asymmetric, floored, symmetric

RANGES = [
    Range(0.0, 6.0),
    Range(-1.0, 3.0),
    Range(-0.278, 9.95),
    Range(2.0, 5.0),
    Range(-5.0, -2.0),
    Range(0.0, 0.0),
    Range(-1e-7, 1e-7),
    Range(-1e30, 1e30),
    Range(0.0, 1e-30),
]
GRIDS = {
    "unsigned": lambda found: asymmetric(found, signed=False),
    "signed": lambda found: asymmetric(found, signed=True),
    "symmetric": symmetric,
}


def told(grid: Grid, values: np.ndarray) -> np.ndarray:
    codes = np.clip(np.rint(values / grid.scale) + grid.zero_point, grid.low_code, grid.high_code)
    return (codes - grid.zero_point) * grid.scale


@pytest.mark.parametrize("found", RANGES, ids=str)
@pytest.mark.parametrize("kind", GRIDS)
def test_values_in_the_range_come_back_within_half_a_step(kind: str, found: Range) -> None:
    grid = GRIDS[kind](found)
    values = np.linspace(*found, 1001)
    # The zero point is rounded: at one end up to another half step is lost.
    assert np.abs(told(grid, values) - values).max() <= grid.scale * (1.0 + 1e-9)
    inner = values[np.abs(values) < 0.99 * max(abs(found.low), abs(found.high))]
    assert told(grid, np.zeros(1)) == 0.0, "zero is exact"
    if kind == "symmetric" and len(inner):
        assert np.abs(told(grid, inner) - inner).max() <= grid.scale * 0.5001


@pytest.mark.parametrize("found", RANGES, ids=str)
@pytest.mark.parametrize("kind", GRIDS)
def test_codes_survive_the_round_trip(kind: str, found: Range) -> None:
    grid = GRIDS[kind](found)
    codes = np.arange(grid.low_code, grid.high_code + 1)
    values = (codes - grid.zero_point) * grid.scale
    assert np.array_equal(np.rint(values / grid.scale) + grid.zero_point, codes)


@pytest.mark.parametrize("found", RANGES, ids=str)
def test_grids_fit_their_integer_type(found: Range) -> None:
    unsigned, signed, centred = (make(found) for make in GRIDS.values())
    assert (unsigned.low_code, unsigned.high_code) == (0, 255)
    assert (signed.low_code, signed.high_code) == (-128, 127)
    assert 0 <= unsigned.zero_point <= 255
    assert signed.zero_point == unsigned.zero_point - 128, "one grid, two types"
    assert centred.zero_point == 0
    assert all(grid.scale >= LEAST_WIDTH / 255 for grid in (unsigned, signed, centred))


def test_a_relu6_fills_the_unsigned_grid() -> None:
    grid = asymmetric(Range(0.0, 6.0), signed=False)
    assert grid == Grid(6.0 / 255, 0, 0, 255)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Range(2.0, 5.0), Range(0.0, 5.0)),
        (Range(-5.0, -2.0), Range(-5.0, 0.0)),
        (Range(0.0, 0.0), Range(0.0, DEAD_WIDTH)),
        (Range(0.0, 3e-5), Range(0.0, 3e-5)),
        (Range(-2e-7, 1e-7), Range(-2e-7, 1e-7)),
        (Range(0.0, 1e-12), Range(0.0, LEAST_WIDTH)),
        (Range(-1.0, 1.0), Range(-1.0, 1.0)),
    ],
)
def test_a_floored_range_holds_zero_and_some_width(found: Range, expected: Range) -> None:
    assert floored(found) == expected


def test_a_table_survives_json() -> None:
    table = RangeTable({"input": Range(-2.117904, 2.64), "layer1.0/relu": Range(0.0, 0.1 + 0.2)})
    again = RangeTable.from_json(table.to_json())
    assert again == table
    assert again["input"].high == 2.64
    assert "nothing" not in again


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_table_refuses_what_is_not_finite_and_says_where(bad: float) -> None:
    with pytest.raises(StepError) as caught:
        RangeTable({"good": Range(0.0, 1.0), "conv3": Range(0.0, bad), "conv4": Range(bad, 1.0)})
    assert caught.value.code == "not-finite"
    assert "2 of 3" in caught.value.message
    assert "conv3, conv4" in caught.value.why
    assert "edgecnn inspect" in caught.value.hint
