"""Every error code is documented: `docs/errors.md` is what the source says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from error_codes import DOCUMENT, FAMILIES, ErrorCode, Source, document


@pytest.fixture(scope="module")
def codes() -> list[ErrorCode]:
    return Source().codes()


def test_the_page_of_error_codes_is_up_to_date(codes: list[ErrorCode]) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(codes), "make docs"


def test_codes_are_kebab_case(codes: list[ErrorCode]) -> None:
    odd = {one.code for one in codes if not re.fullmatch(r"[a-z][a-z0-9]*(-([a-z0-9]+|\{\w+\}))*", one.code)}
    assert not odd


def test_every_family_is_found(codes: list[ErrorCode]) -> None:
    assert {one.family for one in codes} == FAMILIES.keys()


def test_codes_are_found_however_they_are_given(codes: list[ErrorCode]) -> None:
    known = {one.code for one in codes}
    assert {
        "bad-recipe",
        "bad-device",
        "unknown-tracker",
        "resume-settings",
        "host-key-changed",
        "engine-mismatch",
    } <= known


def test_every_error_says_something(codes: list[ErrorCode]) -> None:
    assert not [one for one in codes if not one.message]
