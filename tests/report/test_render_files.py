"""The report as files: JSON is the archive, Markdown is for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from edgecnn.core import plugins
from edgecnn.report.facts import DataFacts, ModelFacts, RecipeFacts
from edgecnn.report.model import SCHEMA, Report

Golden = Callable[[str, str], None]


def test_json_is_as_archived(report: Report, golden: Golden) -> None:
    golden("report.json", report.to_json())


def test_markdown_is_as_archived(report: Report, golden: Golden) -> None:
    golden("report.md", report.to_markdown())


def test_json_says_its_schema_and_exit_code(report: Report) -> None:
    raw = json.loads(report.to_json())
    assert (raw["schema"], raw["outcome"], raw["exit_code"]) == (SCHEMA, "FAIL", 1)


def test_json_has_null_where_a_figure_is_not_finite(report: Report) -> None:
    row = replace(report.rows[1], speed=replace(report.rows[1].speed, speedup=float("nan"), load_ms=float("inf")))
    raw = json.loads(replace(report, rows=(row,)).to_json())
    assert raw["rows"][0]["speed"]["speedup"] is None
    assert raw["rows"][0]["speed"]["load_ms"] is None


def test_markdown_of_a_report_with_nothing_in_it(report: Report) -> None:
    bare = replace(
        report,
        rows=(),
        warnings=(),
        conclusions=(),
        stages=(),
        model=ModelFacts(),
        data=DataFacts(),
        recipe=RecipeFacts(),
        target={},
        host={},
        elsewhere="",
    )
    text = bare.to_markdown()
    assert "data: none" in text
    assert "## Speed" not in text


def test_a_name_cannot_break_out_of_a_markdown_table(report: Report) -> None:
    row = replace(report.rows[1], outcome_why="a | b\n# <script>", file="x`|y")
    table_lines = [
        line for line in replace(report, rows=(row,)).to_markdown().splitlines() if line.startswith("| onnx int8")
    ]
    assert any("a \\| b # &lt;script>" in line for line in table_lines)
    assert any("`x'\\|y`" in line for line in table_lines)


def test_an_emulated_boards_times_are_in_no_file(report: Report) -> None:
    speed = report.rows[1].speed
    assert speed is not None
    played = replace(speed, emulated=True, energy_mj=12.5, power_source="measured", grade="invalid")
    emulated = replace(report, rows=(replace(report.rows[1], speed=played),), conclusions=())
    raw = json.loads(emulated.to_json())["rows"][0]["speed"]
    names = ("median_ms", "median_low_ms", "median_high_ms", "p90_ms", "p90_bound_ms", "load_ms", "first_ms")
    assert {raw[name] for name in (*names, "speedup", "speedup_low", "speedup_high", "energy_mj")} == {None}
    assert raw["emulated"] is True and raw["samples"] == speed.samples
    page = emulated.to_markdown()
    assert "12.5 mJ" not in page and "1.75x" not in page and "7.02" not in page


def test_memory_that_nobody_could_read_is_not_nought(report: Report) -> None:
    speed = report.rows[1].speed
    assert speed is not None
    blind = replace(report, rows=(replace(report.rows[1], speed=replace(speed, peak_rss_bytes=None)),))
    assert "| 0 B |" not in blind.to_markdown() and "| – |" in blind.to_markdown()


def test_all_are_found_as_reporters(report: Report) -> None:
    for name in ("markdown", "json", "html"):
        assert plugins.load("reporters", name)(report)
