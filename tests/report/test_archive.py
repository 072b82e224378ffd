"""Report.load: what was written is read back; old files load, newer and damaged ones are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgecnn.core.errors import InputError
from edgecnn.report.facts import BudgetFacts, DataFacts, ModelFacts
from edgecnn.report.model import Accuracy, Report, Row, Speed
from edgecnn.report.search import Search, TrialRow

OLD = Path(__file__).parent / "golden" / "report-of-0.1.json"
TEXTS = ("", "a|b", "größer", "line\nline", "\x00", "[x](y)")
SHARES = (None, 0.0, -0.004, 1 / 3, 1.0)
OUTCOMES = (None, "PASS", "FAIL", "INCONCLUSIVE")


def facts(draw: Random, depth: int = 2) -> dict[str, Any]:
    """JSON values at random, nested."""

    def value() -> Any:
        leaves = [None, True, draw.randint(-9, 9), draw.uniform(-1e9, 1e9), draw.choice(TEXTS), [1, "two", []]]
        return draw.choice([*leaves, facts(draw, depth - 1)] if depth else leaves)

    return {f"{draw.choice(TEXTS)}{index}": value() for index in range(draw.randint(0, 4))}


def row(draw: Random) -> Row:
    """A row with figures at random, or without."""
    accuracy = Accuracy("r", draw.randint(1, 99), None, *(draw.choice(SHARES) for _ in range(2)))
    times = [draw.choice((0.0, 1 / 3, 1e-9, 12345.678)) for _ in range(7)]
    speed = Speed(*times[:3], "ci95", times[3], draw.choice((None, 1.5)), *times[5:], None, 1, 2, 3, reasons=TEXTS)
    return Row(
        *("onnx", "int8", draw.choice(TEXTS), draw.choice(("ok", "failed"))),
        outcome=draw.choice(OUTCOMES),
        accuracy=draw.choice((None, accuracy)),
        speed=draw.choice((None, speed)),
        warnings=TEXTS[: draw.randint(0, 3)],
    )


def search(draw: Random) -> Search:
    shares = [draw.choice(SHARES) for _ in range(4)]
    trial = TrialRow(
        "calibrate", draw.choice(TEXTS), "over", "why", *shares, size_bytes=draw.choice((None, 7)), seconds=0.1
    )
    return Search("onnx", 3, 4, (trial,) * draw.randint(0, 2), "chosen", draw.choice(OUTCOMES), "")


def saved(report: Report, path: Path) -> Path:
    path.write_text(report.to_json(), encoding="utf-8")
    return path


def test_what_was_written_is_read_back(report: Report, tmp_path: Path) -> None:
    path = saved(report, tmp_path / "report.json")
    assert Report.load(path) == report
    assert Report.load(tmp_path) == report, "the folder of a run will do"
    assert Report.load(path).to_json() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", range(40))
def test_any_report_is_read_back(report: Report, tmp_path: Path, seed: int) -> None:
    draw = Random(seed)  # noqa: S311 - not for cryptography
    drawn = replace(
        report,
        title=draw.choice(TEXTS),
        rows=tuple(row(draw) for _ in range(draw.randint(0, 3))),
        searches=tuple(search(draw) for _ in range(draw.randint(0, 2))),
        host=facts(draw),
        target=facts(draw),
        device=facts(draw),
        budget=BudgetFacts(0.01, draw.choice((None, 2.5)), draw.choice((None, 10**12))),
        model=ModelFacts(draw.choice(TEXTS), input_shape=(3, 8, 8), notes=TEXTS, source_files={"a.py": "0"}),
        data=DataFacts(seed=3, origin=facts(draw), digests={"evaluation": None}),
    )
    assert Report.load(saved(drawn, tmp_path / "report.json")) == drawn


def test_a_report_of_an_earlier_version_is_read(report: Report) -> None:
    old = Report.load(OLD)
    assert (old.verdict, old.exit_code, len(old.rows)) == ("FAIL", 1, 6)
    assert old.rows == report.rows and old.model == report.model and old.data == report.data


def test_no_key_of_an_earlier_report_is_lost(tmp_path: Path) -> None:
    def keys(value: object, at: str = "") -> set[str]:
        if isinstance(value, list):
            return {key for item in value for key in keys(item, f"{at}[]")}
        if not isinstance(value, dict):
            return set()
        return {f"{at}.{key}" for key in value} | {
            name for key, item in value.items() for name in keys(item, f"{at}.{key}")
        }

    written = json.loads(saved(Report.load(OLD), tmp_path / "report.json").read_text())
    assert keys(json.loads(OLD.read_text())) <= keys(written)


def test_a_figure_that_is_not_in_the_file_is_not_invented(report: Report, tmp_path: Path) -> None:
    assert report.rows[1].speed is not None
    speed = replace(report.rows[1].speed, emulated=True)
    found = Report.load(saved(replace(report, rows=(replace(report.rows[1], speed=speed),)), tmp_path / "a.json"))
    assert found.rows[0].speed is not None
    assert json.loads(found.to_json())["rows"][0]["speed"]["median_ms"] is None


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("", "damaged-report", "not JSON"),
        ("[1]", "damaged-report", "not a JSON object"),
        ("[" * 100_000, "damaged-report", "not JSON"),
        ("{}", "not-a-report", "names no schema"),
        ('{"schema": "edgecnn.audit/1"}', "not-a-report", "edgecnn.audit/1"),
        ('{"schema": "edgecnn.report/x"}', "not-a-report", "edgecnn.report/x"),
        ('{"schema": "edgecnn.report/2"}', "newer-report", "edgecnn.report/2"),
        ('{"schema": "edgecnn.report/1"}', "damaged-report", "title: Field required"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str, code: str, why: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError) as caught:
        Report.load(tmp_path)
    assert caught.value.code == code and why in caught.value.why and caught.value.hint


def test_a_damaged_field_is_named(report: Report, tmp_path: Path) -> None:
    raw = json.loads(report.to_json())
    raw["rows"][1]["accuracy"]["top1"] = "many"
    (tmp_path / "report.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="damaged") as caught:
        Report.load(tmp_path)
    assert "rows.1.accuracy.top1" in caught.value.why


def test_a_run_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no report") as caught:
        Report.load(tmp_path)
    assert caught.value.code == "no-report"
    (tmp_path / "report.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="no report"):
        Report.load(tmp_path)
