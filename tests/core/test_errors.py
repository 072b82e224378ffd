"""Errors say what, why and what to do; their families decide the exit code."""

from __future__ import annotations

import pickle

import pytest

from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError, did_you_mean


@pytest.mark.parametrize(("family", "exit_code"), [(InputError, 2), (MissingError, 4), (StepError, 5)])
def test_the_family_decides_the_exit_code(family: type[EdgecnnError], exit_code: int) -> None:
    error = family("some-code", "what", why="why", hint="do this")
    assert error.to_dict() == {
        "code": "some-code",
        "message": "what",
        "why": "why",
        "hint": "do this",
        "exit_code": exit_code,
    }
    assert str(error) == "what\nwhy\ndo this"


def test_what_is_not_known_is_not_shown() -> None:
    assert str(StepError("some-code", "what")) == "what"


def test_a_near_word_is_proposed() -> None:
    assert did_you_mean("layer1.0.conv", ["layer1.0.conv1", "stem", "head"]) == "did you mean 'layer1.0.conv1'?"


def test_without_a_near_word_all_are_listed() -> None:
    assert did_you_mean("zzz", ["stem", "head"]) == "known: head, stem"


def test_an_error_travels_between_processes() -> None:
    error = InputError("some-code", "what", why="why", hint="do this")
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(arrived) is InputError and arrived.to_dict() == error.to_dict()
