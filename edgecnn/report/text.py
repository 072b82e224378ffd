"""The report for a terminal: what was asked, one row per artifact, what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgecnn.report import wording
from edgecnn.report.model import Report, Row

STYLES = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "failed": "red",
    "skipped": "dim",
    "baseline": "dim",
}
BADGES = {"PASS": "bold white on green", "FAIL": "bold white on red", "INCONCLUSIVE": "bold black on yellow"}

SHOWN_LAYERS = 3


def render(report: Report) -> RenderableType:
    """The whole report as a rich renderable; it fits itself to the console's width (80 columns and more)."""
    parts: list[RenderableType] = [_header(report), "", _Rows(report.rows)]
    if legend := wording.legend(report):
        parts += ["", Text(legend, "dim")]
    notes = [(name, Text(text)) for name, text in wording.grouped_notes(report)]
    for title, body in (
        ("notes", _named(notes)),
        ("INT8 coverage", _named(_fusion(report))),
        ("ladder", _climbs(report)),
        ("warnings", _lines(wording.warnings(report), "yellow")),
        ("conclusions", _lines(report.conclusions, "")),
    ):
        if body is not None:
            parts += ["", Text(title, "bold"), Padding(body, (0, 0, 0, 2))]
    return Group(*parts, "", _verdict(report))


def _climbs(report: Report) -> RenderableType | None:
    """A table for each format that was climbed."""
    shown = [climb for climb in report.searches if wording.worth_showing(climb)]
    parts: list[RenderableType] = []
    for climb in shown:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
        for title in ("attempt", "drop, points", "agree %", "size", "budget"):
            table.add_column(title, overflow="fold", no_wrap=title in ("drop, points", "size"))
        for tried in climb.attempts:
            style = "bold" if tried.label == climb.chosen else ""
            table.add_row(*(Text(cell, style) for cell in wording.climb_cells(tried, climb)))
        parts += [*([""] if parts else []), Text(wording.climb_title(climb)), table]
        parts += [Text(climb.why)] if climb.why else []
    return Group(*parts) if parts else None


def _header(report: Report) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("model", Text(wording.model(report)))
    grid.add_row("target", Text(wording.target(report)))
    grid.add_row("data", Text(f"{wording.data(report)}; {wording.allowed(report)}"))
    grid.add_row("recipe", Text(wording.recipe(report)))
    grid.add_row("measured", Text(f"on {report.measured_on}, profile {report.profile}"))
    if report.elsewhere:
        grid.add_row("", Text(report.elsewhere, "yellow"))
    return Group(Text(report.title, "bold"), "", grid)


@dataclass(frozen=True, slots=True)
class _Column:
    """`figure` gives the value and its interval; a narrow console shows only what is `needed`."""

    title: str
    figure: Callable[[Row], tuple[str, str]]
    needed: bool = True


def _top1(row: Row) -> tuple[str, str]:
    return wording.percent(row.accuracy.top1 if row.accuracy else None), ""


def _agreement(row: Row) -> tuple[str, str]:
    return wording.percent(row.accuracy.agreement if row.accuracy else None), ""


def _p90(row: Row) -> tuple[str, str]:
    return wording.p90(row), ""


COLUMNS = (
    _Column("size", lambda row: (wording.size(row.size_bytes), "")),
    _Column("top-1 %", _top1),
    _Column("drop, points", wording.drop),
    _Column("agree %", _agreement, needed=False),
    _Column("median ms", wording.median),
    _Column("p90 ms", _p90, needed=False),
    _Column("speedup", wording.speedup),
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """One row per artifact. A figure and its interval stand side by side where there is room, else stacked.

    Where even that is too wide, the least needed figures are left out.
    """

    rows: tuple[Row, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        boundless = options.update(max_width=1000)
        table = self._table(COLUMNS, stacked=False)
        if console.measure(table, options=boundless).maximum > options.max_width:
            table = self._table(COLUMNS, stacked=True)
        if console.measure(table, options=boundless).maximum > options.max_width:
            table = self._table([column for column in COLUMNS if column.needed], stacked=True)
        yield table

    def _table(self, columns: Sequence[_Column], *, stacked: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
        table.add_column("artifact", no_wrap=True)
        for column in columns:
            table.add_column(
                column.title.replace(", ", "\n") if stacked else column.title, justify="right", no_wrap=True
            )
        table.add_column("verdict", no_wrap=True)
        separator = " " if len(columns) == len(COLUMNS) else "\n"
        formats = [row.format for row in self.rows]
        for index, row in enumerate(self.rows):
            word = wording.verdict(row)
            table.add_row(
                Text.assemble((row.format, "bold"), separator, " ".join(filter(None, (row.precision, row.variant)))),
                *(_figure(*column.figure(row), stacked=stacked) for column in columns),
                Text(word, STYLES.get(word, "")),
                end_section=row.format not in formats[index + 1 :] and index + 1 < len(self.rows),
            )
        return table


def _figure(value: str, interval: str, *, stacked: bool) -> Text:
    if value == wording.NOTHING:
        return Text(value, "dim")
    if not interval:
        return Text(value)
    return Text.assemble(value, ("\n" + interval.replace(" ", "") if stacked else f"  {interval}", "dim"))


def _fusion(report: Report) -> list[tuple[str, Text]]:
    lines: list[tuple[str, Text]] = []
    for row in report.rows:
        said, layers = wording.fusion(row), wording.float_layers(row)
        if said:
            lines.append((row.name, Text(said)))
        lines += [(row.name, Text(layer, "dim")) for layer in layers[:SHOWN_LAYERS]]
        if len(layers) > SHOWN_LAYERS:
            lines.append((row.name, Text(f"and {len(layers) - SHOWN_LAYERS} more, all of them in report.md", "dim")))
    return lines


def _named(lines: Sequence[tuple[str, Text]]) -> RenderableType | None:
    """Lines beside the artifact they are about; its name is written once."""
    if not lines:
        return None
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    previous = ""
    for name, line in lines:
        grid.add_row(Text("" if name == previous else name), line)
        previous = name
    return grid


def _lines(texts: Sequence[str], style: str) -> RenderableType | None:
    return Group(*(Text(text, style) for text in texts)) if texts else None


def _verdict(report: Report) -> Text:
    return Text.assemble((f" {report.outcome} ", BADGES[report.outcome]), " ", report.outcome_why)
