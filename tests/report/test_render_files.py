"""The report as files: JSON is the archive, Markdown is for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from edgecnn.core import plugins
from edgecnn.report import json as json_report
from edgecnn.report import markdown
from edgecnn.report.model import SCHEMA, Report

Golden = Callable[[str, str], None]


def test_json_is_as_archived(report: Report, golden: Golden) -> None:
    golden("report.json", json_report.render(report))


def test_markdown_is_as_archived(report: Report, golden: Golden) -> None:
    golden("report.md", markdown.render(report))


def test_json_says_its_schema_and_exit_code(report: Report) -> None:
    raw = json.loads(json_report.render(report))
    assert (raw["schema"], raw["outcome"], raw["exit_code"]) == (SCHEMA, "FAIL", 1)


def test_json_has_null_where_a_figure_is_not_finite(report: Report) -> None:
    row = replace(report.rows[1], speed=replace(report.rows[1].speed, speedup=float("nan"), load_ms=float("inf")))
    raw = json.loads(json_report.render(replace(report, rows=(row,))))
    assert raw["rows"][0]["speed"]["speedup"] is None
    assert raw["rows"][0]["speed"]["load_ms"] is None


def test_markdown_of_a_report_with_nothing_in_it(report: Report) -> None:
    bare = replace(
        report,
        rows=(),
        warnings=(),
        conclusions=(),
        stages=(),
        model={},
        data={},
        recipe={},
        target={},
        host={},
        elsewhere="",
    )
    text = markdown.render(bare)
    assert "data: none" in text
    assert "## Speed" not in text


def test_a_name_cannot_break_out_of_a_markdown_table(report: Report) -> None:
    row = replace(report.rows[1], outcome_why="a | b\n# <script>", file="x`|y")
    table_lines = [
        line for line in markdown.render(replace(report, rows=(row,))).splitlines() if line.startswith("| onnx int8")
    ]
    assert any("a \\| b # &lt;script>" in line for line in table_lines)
    assert any("`x'\\|y`" in line for line in table_lines)


def test_both_are_found_as_reporters(report: Report) -> None:
    for name in ("markdown", "json"):
        assert plugins.load("reporters", name)(report)
