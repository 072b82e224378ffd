"""The answer of the verb `latency`: a hostile one ends as one clear error, an unreadable optional is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import StepError
from edgecnn.measure.process import process_of

ANSWER: dict[str, Any] = {
    "runs_per_sample": 2,
    "batch": 1,
    "load_ns": 5,
    "first_ns": 7,
    "steady": True,
    "facts": {"usable_cores": 4, "governor": "performance", "runtime": "1.2"},
}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, np.array([10, 20, 40], np.int64))
    return path


def test_samples_are_per_run(samples: Path) -> None:
    process = process_of(ANSWER, samples, None, place=(3, 1))
    assert process.samples_ns == (5.0, 10.0, 20.0)
    assert (process.block, process.position, process.peak_rss_bytes, process.other_load) == (3, 1, None, None)
    assert process.facts["usable_cores"] == 4 and process.facts["runtime"] == "1.2"


def test_an_empty_second_series_is_none(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "e2e.npy"
    np.save(path, np.array([], np.int64))
    assert process_of(ANSWER, samples, path, place=(0, 0)).e2e_ns is None
    assert process_of({**ANSWER, "e2e_runs_per_sample": 5}, samples, samples, place=(0, 0)).e2e_ns == (2.0, 4.0, 8.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runs_per_sample", 0),
        ("runs_per_sample", "2"),
        ("runs_per_sample", True),
        ("batch", 1.5),
        ("load_ns", -1),
        ("first_ns", 1 << 70),
        ("facts", []),
        ("facts", None),
    ],
)
def test_a_wrong_required_field_is_named(field: str, value: object, samples: Path) -> None:
    for answer in ({**ANSWER, field: value}, {key: ANSWER[key] for key in ANSWER if key != field}):
        with pytest.raises(StepError) as caught:
            process_of(answer, samples, None, place=(0, 0))
        assert caught.value.code == "bad-result"
        assert field in caught.value.why


@pytest.mark.parametrize(
    "array",
    [np.array([], np.int64), np.array([1.0]), np.array([0, 1]), np.array([[1]]), np.array([{}], object)],
    ids=["empty", "floats", "zero", "two axes", "objects"],
)
def test_samples_that_are_none(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(StepError) as caught:
        process_of(ANSWER, tmp_path / "bad.npy", None, place=(0, 0))
    assert caught.value.code == "bad-result"


def test_what_may_be_absent_and_cannot_be_read_is_unknown(samples: Path) -> None:
    hostile = {
        **{"other_load": "high", "telemetry": 7, "cooled_s": None, "steady": 1},
        **{"findings": {"code\x1b[2J": "text\x07"}, "facts": {"usable_cores": "all", "governor": 5}},
    }
    process = process_of({**ANSWER, **hostile}, samples, None, place=(0, 0))
    assert (process.other_load, process.cooled_s, process.steady) == (None, 0.0, False)
    assert process.findings == {"code": "text"}
    assert process.facts["usable_cores"] is None and process.facts["governor"] is None
    assert process_of({**ANSWER, "other_load": 7}, samples, None, place=(0, 0)).other_load == 1.0
