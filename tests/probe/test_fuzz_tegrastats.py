"""Lines of `tegrastats` from anywhere: read as far as they go; never an exception, whatever the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing import damaged, examples
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.probe.sensors.tegrastats import parse

LINES = Path(__file__).with_name("tegrastats_lines.txt").read_bytes().splitlines()


@examples(300)
@given(raw=damaged(*LINES) | st.binary(max_size=80))
def test_damaged_lines(raw: bytes) -> None:
    json.dumps(parse(raw.decode("utf-8", "replace")), allow_nan=False)


@pytest.mark.parametrize(
    "line",
    [
        f"RAM {'9' * 5000}/7850MB",
        f"CPU [{'9' * 400}%@1510]",
        f"CPU [0%@{'9' * 400}]",
        f"GR3D_FREQ {'9' * 400}%@{'9' * 400}",
        f"GR3D_FREQ 0%@[{'9' * 400}]",
        "EMC_FREQ 0%@[,,,]",
        f"CPU@{'9' * 400}C",
        f"VDD_IN {'9' * 400}mW/1mW",
        "RAM ٣/٤MB",
    ],
    ids=lambda line: line[:12],
)
def test_numbers_that_no_board_has(line: str) -> None:
    found = json.dumps(parse(line), allow_nan=False)
    assert "999999" not in found
