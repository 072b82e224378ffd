"""A document for a terminal, as a rich renderable: brief, fitted to the console's width, conclusions last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch

from rich import box
from rich import table as rich_table
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from edgecnn.core.units import NOTHING, short
from edgecnn.report import document as doc

STYLES: dict[doc.Tone, str] = {
    "": "",
    "good": "bold green",
    "bad": "bold red",
    "warning": "yellow",
    "dim": "dim",
    "strong": "bold",
    "integer": "cyan",
    "float": "yellow",
    "conversion": "magenta",
    "other": "dim",
}
BADGES = {"PASS": "bold white on green", "FAIL": "bold white on red", "INCONCLUSIVE": "bold black on yellow"}
SHOWN_CHILDREN = 3
BAR = 24


def render(document: doc.Document, *, place: str = "") -> RenderableType:
    """The document as a rich renderable for 80 columns and more; `place` is the file where all of it is, if any."""
    parts: list[RenderableType] = [Text(document.title, "bold")]
    shown = [block for block in document.blocks if not _is_left_out(block)]
    follows_finding = False
    for block in sorted(shown, key=lambda block: isinstance(block, doc.Section) and block.last):
        is_finding = isinstance(block, doc.Section) and block.mark is not None
        is_close = (isinstance(block, doc.Paragraph) and block.tone == "warning") or (is_finding and follows_finding)
        parts += [*([] if is_close else [""]), *_block(block, place)]
        follows_finding = is_finding
    if document.verdict is not None:
        outcome, why = document.verdict
        parts += ["", Text.assemble((f" {outcome} ", BADGES[outcome]), " ", why)]
    return Group(*parts)


def plain(document: doc.Document, *, width: int = 100) -> str:
    """The same without colours, for a log."""
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(render(document))
    return captured.get()


def _is_left_out(block: doc.Element) -> bool:
    return (isinstance(block, doc.Section) and block.full) or not _block(block, "")


@singledispatch
def _block(block: doc.Element, place: str) -> list[RenderableType]:
    """What a terminal shows of a block; nothing of a picture."""
    return []


@_block.register
def _paragraph(block: doc.Paragraph, place: str) -> list[RenderableType]:
    return [Text(block.text, STYLES[block.tone])]


@_block.register
def _section(section: doc.Section, place: str) -> list[RenderableType]:
    body: list[RenderableType] = []
    for block in section.blocks:
        if parts := _block(block, place):
            body += [*([""] if body and not section.mark else []), *parts]
    if section.mark is not None:
        mark, tone = section.mark
        return [Text.assemble((f"{mark} ", STYLES[tone]), section.title), Padding(Group(*body), (0, 0, 0, 2))]
    if section.bare or not body:
        return body
    return [Text(section.title, "bold"), Padding(Group(*body), (0, 0, 0, 2))]


def _more(left: int, place: str) -> str:
    return f"and {left:,} more{f', all of them in {place}' if place else ''}"


@_block.register
def _bullets(block: doc.Bullets, place: str) -> list[RenderableType]:
    items = [item for item in block.items if not item.full]
    shown, style = items[: block.brief], STYLES[block.tone]
    lines = [line for item in shown for line in _lines(item, style, place)]
    if len(items) > len(shown):
        lines.append(("", Text(_more(len(items) - len(shown), place), "dim")))
    if not any(name for name, _ in lines):
        return [line for _, line in lines]
    grid = _grid("left", "left")
    previous = ""
    for name, line in lines:
        grid.add_row(Text("" if name == previous else name), line)
        previous = name
    return [grid]


def _lines(item: doc.Item, style: str, place: str) -> Iterator[tuple[str, Text]]:
    yield item.name, Text(item.text, style)
    for child in item.children[:SHOWN_CHILDREN]:
        yield item.name, Text(child, "dim")
    if len(item.children) > SHOWN_CHILDREN:
        yield item.name, Text(_more(len(item.children) - SHOWN_CHILDREN, place), "dim")


def _grid(*justify: str) -> rich_table.Table:
    """A table without head and rules whose last column folds."""
    grid = rich_table.Table.grid(padding=(0, 2))
    for place, side in enumerate(justify):
        last = place == len(justify) - 1
        grid.add_column(justify="right" if side == "right" else "left", no_wrap=not last, overflow="fold")
    return grid


@_block.register
def _pairs(block: doc.Pairs, place: str) -> list[RenderableType]:
    grid = _grid("left", "left")
    for name, value in block.items:
        grid.add_row(Text(name, "dim"), Text(value))
    return [grid]


@_block.register
def _bars(block: doc.BarChart, place: str) -> list[RenderableType]:
    grid = _grid("left", *("right" for _ in block.titles[1:-1]), "left", "left")
    for bar in block.bars:
        drawn = "" if bar.share is None else "█" * max(1, round(bar.share * BAR))
        *figures, last = bar.figures
        grid.add_row(Text(bar.label), *map(Text, figures), Text(drawn.ljust(BAR), STYLES[bar.tone]), Text(last, "dim"))
    return [grid]


@_block.register
def _table(table: doc.Table, place: str) -> list[RenderableType]:
    notes = [Padding(Text(note, "dim"), (0, 0, 0, 2)) for note in table.notes]
    return [_plain(table) if table.plain else _Fitting(table, place), *notes]


def _plain(table: doc.Table) -> RenderableType:
    grid = _grid(*("right" if column.right else "left" for column in table.columns))
    for row in table.rows:
        grid.add_row(*(Text(cell.text, STYLES[cell.tone]) for cell in map(_cell, row)))
    return grid


def _cell(cell: doc.Cell | str) -> doc.Cell:
    return cell if isinstance(cell, doc.Cell) else doc.Cell(cell)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A table that fits the console: intervals beside their figures, else below them, else fewer columns."""

    table: doc.Table
    place: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        shown = [number for number, column in enumerate(self.table.columns) if not column.full]
        boundless = options.update(max_width=1000)

        def is_too_wide(drawn: rich_table.Table) -> bool:
            return console.measure(drawn, options=boundless).maximum > options.max_width

        drawn = self._draw(shown, stacked=False)
        stacked = is_too_wide(drawn) and any(_cell(cell).interval for row in self.table.rows for cell in row)
        drawn = self._draw(shown, stacked=stacked)
        order = sorted(shown, key=lambda number: -self.table.columns[number].optional)
        for number in order:
            if not self.table.columns[number].optional or not is_too_wide(drawn):
                break
            shown.remove(number)
            drawn = self._draw(shown, stacked=stacked)
        yield drawn
        if self.table.brief is not None and not self.table.both_ends and len(self.table.rows) > self.table.brief:
            yield Text(_more(len(self.table.rows) - self.table.brief, self.place), "dim")

    def _draw(self, shown: Sequence[int], *, stacked: bool) -> rich_table.Table:
        table = self.table
        drawn = rich_table.Table(
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim"
        )
        for number in shown:
            _add_column(drawn, table.columns[number], stacked=stacked)
        for number, row in _brief(table):
            if row is None:
                drawn.add_row(Text(f"… {number:,} between", "dim"))
                continue
            cells = (_drawn(_cell(row[place]), table.columns[place], stacked=stacked) for place in shown)
            drawn.add_row(*cells, end_section=number in table.breaks)
        return drawn


def _add_column(drawn: rich_table.Table, column: doc.Column, *, stacked: bool) -> None:
    title = column.title.replace(", ", "\n") if stacked else column.title
    folds = not column.right and not column.optional
    drawn.add_column(title, justify="right" if column.right else "left", no_wrap=not folds, overflow="fold")


def _drawn(cell: doc.Cell, column: doc.Column, *, stacked: bool) -> Text:
    value = short(cell.text, column.width) if column.width else cell.text
    if value == NOTHING:
        return Text(value, "dim")
    interval = ("\n" + cell.interval.replace(" ", "") if stacked else f"  {cell.interval}") if cell.interval else ""
    return Text.assemble((value, STYLES[cell.tone]), (interval, "dim"))


def _brief(table: doc.Table) -> Iterator[tuple[int, tuple[doc.Cell | str, ...] | None]]:
    """The rows a terminal shows, by number; (how many, None) in place of those left out between both ends."""
    total, limit = len(table.rows), table.brief
    if limit is None or total <= limit:
        yield from enumerate(table.rows)
        return
    head = limit // 2 if table.both_ends else limit
    yield from list(enumerate(table.rows))[:head]
    if table.both_ends:
        tail = total - (limit - head)
        yield tail - head, None
        yield from list(enumerate(table.rows))[tail:]
