"""A document as Markdown, all of it: for a release page, a pull request, or the folder of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import singledispatch

from edgecnn.report import document as doc

_ALWAYS = re.compile(r"([\\`*|~$])")
_LINK = re.compile(r"\](?=[(\[:])")
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_BLOCK = re.compile(r"^([#>]|[-+](?=\s))")


def render(document: doc.Document) -> str:
    """The whole document; it ends in a newline."""
    parts = [f"# {escape(document.title)}"]
    if document.verdict is not None:
        outcome, why = document.verdict
        parts.append(f"**{outcome}**: {escape(why)}")
    parts += [text for block in document.blocks for text in _block(block, 2)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """One line that means itself: names come from files and boards, and may look like markup, tags or tables."""
    return _BLOCK.sub(r"\\\1", _escape_within(text))


def _escape_within(text: str) -> str:
    """As `escape`, for a text that does not begin a line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _EMPHASIS.sub(r"\\_", _LINK.sub(r"\\]", _ALWAYS.sub(r"\\\1", line)))


def code(text: str) -> str:
    """A name as it is written, in one cell."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def table(columns: Sequence[doc.Column], rows: Iterable[Sequence[doc.Cell | str]]) -> str:
    """A Markdown table."""
    lines = [
        [_escape_within(column.title) for column in columns],
        ["---:" if column.right else "---" for column in columns],
    ]
    lines += [[_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: doc.Cell | str) -> str:
    if isinstance(cell, str):
        return _escape_within(cell)
    return (
        code(cell.text)
        if cell.code
        else _escape_within(f"{cell.text} [{cell.interval}]" if cell.interval else cell.text)
    )


@singledispatch
def _block(block: doc.Element, level: int) -> list[str]:
    """The parts of a block, with a blank line between them; headings begin at `level`."""
    raise NotImplementedError(type(block).__name__)


@_block.register
def _section(block: doc.Section, level: int) -> list[str]:
    mark = f"{block.mark[0]} " if block.mark else ""
    below = [text for inner in block.blocks for text in _block(inner, level + 1)]
    return [f"{'#' * level} {mark}{escape(block.heading)}", *below]


@_block.register
def _table(block: doc.Table, level: int) -> list[str]:
    notes = "\n".join(f"- {escape(note)}" for note in block.notes)
    return [table(block.columns, block.rows), *([notes] if notes else [])]


@_block.register
def _pairs(block: doc.Pairs, level: int) -> list[str]:
    return ["\n".join(f"- {name}: {code(value) if block.code else escape(value)}" for name, value in block.items)]


@_block.register
def _paragraph(block: doc.Paragraph, level: int) -> list[str]:
    return [f"> **{escape(block.text)}**" if block.tone == "warning" else escape(block.text)]


@_block.register
def _bullets(block: doc.Bullets, level: int) -> list[str]:
    return ["\n".join(line for item in block.items for line in _item(item))]


@_block.register
def _bars(block: doc.BarChart, level: int) -> list[str]:
    columns = [doc.Column(title, right=place > 0) for place, title in enumerate(block.titles)]
    return [table(columns, [(bar.label, *bar.figures) for bar in block.bars])]


@_block.register
def _picture(block: doc.Picture, level: int) -> list[str]:
    return [f"![{escape(block.about)}]({block.file})"]


def _item(item: doc.Item) -> list[str]:
    name = f"{escape(item.name)}: " if item.name else ""
    detail = f" ({escape(item.detail)})" if item.detail else ""
    return [f"- {name}{escape(item.text)}{detail}", *(f"  - {escape(child)}" for child in item.children)]
