"""The report on a terminal: everything is there at every width, and nothing is cut."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from edgecnn.core import units
from edgecnn.report import text
from edgecnn.report.facts import DataFacts, ImagesFacts
from edgecnn.report.model import Report


def shown(report: Report, width: int) -> str:
    sink = StringIO()
    Console(file=sink, width=width, color_system=None).print(text.render(report.document(), place="report.md"))
    return sink.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_row_and_verdict_fits(report: Report, width: int) -> None:
    page = shown(report, width)
    assert all(len(line) <= width for line in page.splitlines())
    for word in (
        "PASS",
        "FAIL",
        "INCONCLUSIVE",
        "baseline",
        "failed",
        "skipped",
        "75.25",
        "1.75x",
        "stem/conv",
        "narrow range",
    ):
        assert word in page


def test_nothing_is_cut_where_intervals_go_below(report: Report) -> None:
    for width in (80, 100):
        assert not any(line.rstrip().endswith("…") for line in shown(report, width).splitlines())
        assert "−0.41…0.91" in shown(report, width)


def test_the_narrow_page_leaves_the_least_needed_figures_out(report: Report) -> None:
    assert "agree %" in shown(report, 100)
    assert "agree %" not in shown(report, 80)


def test_it_says_that_the_figures_are_not_from_the_target(report: Report) -> None:
    assert "This is not a Raspberry Pi 5" in shown(report, 140)


def test_the_last_line_is_the_verdict_and_why(report: Report) -> None:
    assert shown(report, 140).rstrip().splitlines()[-1].split() == f"FAIL {report.outcome_why}".split()


def test_names_are_not_taken_for_markup(report: Report) -> None:
    assert "[bold]x[/bold] :smile:" in shown(replace(report, title="[bold]x[/bold] :smile:"), 100)


@pytest.mark.parametrize(
    ("size_bytes", "said"), [(None, "–"), (999, "999 B"), (5_123_456, "5.1 MB"), (25_000, "25.0 kB"), (3.2e9, "3.2 GB")]
)
def test_sizes(size_bytes: float | None, said: str) -> None:
    assert units.size(size_bytes) == said


@pytest.mark.parametrize(("share", "said"), [(None, "–"), (0.0025, "0.25"), (-0.0041, "−0.41"), (-0.000001, "0.00")])
def test_points(share: float | None, said: str) -> None:
    assert units.points(share) == said


@pytest.mark.parametrize(
    ("ms", "said"), [(None, "–"), (0.1234, "0.123"), (7.02, "7.02"), (12.31, "12.3"), (1234.5, "1234")]
)
def test_milliseconds_keep_three_digits(ms: float | None, said: str) -> None:
    assert units.milliseconds(ms) == said


def test_it_says_what_it_was_calibrated_and_judged_on(report: Report) -> None:
    assert "calibrated on 200 images, judged on 400 others" in shown(report, 140)


def test_it_says_that_there_were_no_images(report: Report) -> None:
    data = DataFacts(form="synthetic", calibration=ImagesFacts(16), evaluation=ImagesFacts(0))
    assert "none given: calibrated on 16 images made from batch-norm" in shown(replace(report, data=data), 140)
