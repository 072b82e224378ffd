"""One definition of preprocessing, checked where it is made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing

GRAY = {"color": "L", "mean": (0.5,), "std": (0.25,)}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"crop": (32, 48), "resize": None},
        {"crop": (224, 224), "resize": 100, "stretch": True},
        {"interpolation": "bicubic", "color": "BGR"},
        GRAY,
    ],
    ids=str,
)
def test_it_survives_json(given: dict[str, Any]) -> None:
    made = Preprocessing(**given)
    again = Preprocessing.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    assert isinstance(again.mean, tuple)


def test_missing_fields_take_their_defaults() -> None:
    assert Preprocessing.from_dict({"resize": 300}) == Preprocessing(resize=300)


def test_channels_follow_the_colour() -> None:
    assert Preprocessing().channels == 3
    assert Preprocessing(**GRAY).channels == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"interpolation": "cubic"}, "'cubic': has to be 'nearest'"),
        ({"color": "RGBA"}, "color 'RGBA'"),
        ({"color": "L"}, "1 values each"),
        ({"mean": (0.5, 0.5)}, "3 values each"),
        ({"std": (0.2, 0.0, 0.2)}, "std positive"),
        ({"std": (0.2, -1.0, 0.2)}, "std positive"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean.1 nan: has to be a finite number"),
        ({"crop": (0, 224)}, "the input size in pixels, 1 to"),
        ({"resize": 100}, "smaller than the crop 224x224"),
    ],
    ids=str,
)
def test_nonsense_is_refused_with_what_is_wrong(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict(given)
    assert caught.value.code == "bad-preprocessing"
    assert told in caught.value.why
    assert caught.value.hint


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict({"interpolation": "cubic", "crop": 0, "color": "RGBA"})
    assert caught.value.why.count(";") == 2
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict({"mean": [0.5], "std": [0.0, 0.0, 0.0], "resize": 1})
    assert caught.value.why.count(";") == 2


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict({"size": 224})
    assert "unknown field size" in caught.value.why
    assert "resize" in caught.value.why


@pytest.mark.parametrize(
    "given", [{"crop": "224"}, {"mean": 0.5}, {"mean": ["a", "b", "c"]}, {"resize": "256"}], ids=str
)
def test_a_value_of_the_wrong_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Preprocessing.from_dict(given)
    assert caught.value.code == "bad-preprocessing"
    assert str(next(iter(given))) in caught.value.why


def test_one_length_is_a_square_and_changes_are_checked() -> None:
    assert Preprocessing.from_dict({"crop": 96}).changed(resize=120).crop == (96, 96)
    with pytest.raises(InputError):
        Preprocessing().changed(resize=100)
