"""Figures as a person reads them."""

from __future__ import annotations

import pytest

from edgecnn.core import units


@pytest.mark.parametrize(
    ("share", "said", "bare"),
    [(None, "–", "–"), (0.7525, "75.25 %", "75.25"), (1.0, "100.00 %", "100.00"), (0.0, "0.00 %", "0.00")],
)
def test_percent(share: float | None, said: str, bare: str) -> None:
    assert units.percent(share) == said and units.percent(share, sign=False) == bare


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.04, "0.0 s"), (12.34, "12.3 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (11_100, "3 h 05 min")],
)
def test_duration(seconds: float | None, said: str) -> None:
    assert units.duration(seconds) == said


@pytest.mark.parametrize(("seconds", "said"), [(12, "12 s"), (99.4, "99 s"), (240, "4 min"), (11_100, "3 h 05 min")])
def test_estimate(seconds: float, said: str) -> None:
    assert units.estimate(seconds) == said


@pytest.mark.parametrize(
    ("number", "noun", "plural", "said"),
    [
        (1, "image", "", "1 image"),
        (12_345, "image", "", "12,345 images"),
        (0, "process", "", "0 processes"),
        (2, "class", "classes", "2 classes"),
    ],
)
def test_count(number: int, noun: str, plural: str, said: str) -> None:
    assert units.count(number, noun, plural) == said


def test_short_keeps_both_ends() -> None:
    assert units.short("a" * 48) == "a" * 48
    name = "first/" + "x" * 90 + "/last"
    assert len(units.short(name, 20)) == 20
    assert units.short(name, 20).startswith("first/") and units.short(name, 20).endswith("/last")


@pytest.mark.parametrize(
    ("low", "high", "said"), [("1", "2", "1 … 2"), ("1", "1", ""), (units.NOTHING, "2", ""), ("1", units.NOTHING, "")]
)
def test_between(low: str, high: str, said: str) -> None:
    assert units.between(low, high) == said
