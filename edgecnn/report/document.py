"""Document: a report as headings, paragraphs, tables, bullets and figures, rendered by text, markdown and html alike.

A page (Markdown, HTML) shows everything. A terminal is brief: it leaves out what is marked `full`, cuts long tables
and lists, and shows what is marked `last` at the end, next to the prompt. Texts are plain: renderers escape them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgecnn.core.outcome import Outcome

Tone: TypeAlias = Literal["", "good", "bad", "warning", "dim", "strong", "integer", "float", "conversion", "other"]
"""What a text means, for renderers that have colours."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: a text or a figure with its `interval`; `code` for a name as it is in a file."""

    text: str
    interval: str = ""
    tone: Tone = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column: figures stand on the `right`. On a narrow terminal those with the largest `optional` go first.

    `width` is the most characters a terminal gives a name; its middle is cut out.
    """

    title: str
    right: bool = False
    optional: int = 0
    full: bool = False
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, one for each column.

    `breaks` are rows with a rule below them, `brief` the most rows on a terminal (half of them from the end where
    `both_ends`), `notes` how to read it. A `plain` table has neither head nor rules on a terminal.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    breaks: frozenset[int] = frozenset()
    brief: int | None = None
    both_ends: bool = False
    notes: tuple[str, ...] = ()
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """Facts by name; `code` where the values are as in a file."""

    items: tuple[tuple[str, str], ...]
    code: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text; one of the tone `warning` stands out."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a list, about `name` if it has one; a terminal shows neither `detail` nor what is `full`."""

    text: str
    name: str = ""
    detail: str = ""
    children: tuple[str, ...] = ()
    full: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; a terminal shows the first `brief` lines."""

    items: tuple[Item, ...]
    tone: Tone = ""
    brief: int | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a label, its figures as texts, and its length as a share of one; None draws none."""

    label: str
    figures: tuple[str, ...]
    share: float | None
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class BarChart:
    """A bar chart with its figures; `titles` name the label and each figure."""

    titles: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: the file beside the page, and its SVG where it has one. A terminal shows none."""

    file: str
    about: str
    svg: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title. `bare`: without its title on a terminal. A section with a `mark` is one finding."""

    title: str
    blocks: tuple[Element, ...]
    full: bool = False
    last: bool = False
    bare: bool = False
    mark: tuple[str, Tone] | None = None

    @property
    def heading(self) -> str:
        """The title as a page shows it: a finding as it is, any other with a capital."""
        return self.title if self.mark else self.title[:1].upper() + self.title[1:]


Element: TypeAlias = Table | Pairs | Paragraph | Bullets | BarChart | Picture | Section


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report. `verdict` is its outcome and why: the first thing on a page, the last on a terminal."""

    title: str
    blocks: tuple[Element, ...]
    verdict: tuple[Outcome, str] | None = None


def section(title: str, *blocks: Element | None, full: bool = False, last: bool = False, bare: bool = False) -> Section:
    """A section of those blocks that there are."""
    return Section(title, present(*blocks), full, last, bare)


def present(*blocks: Element | None) -> tuple[Element, ...]:
    """The blocks that hold something."""
    return tuple(block for block in blocks if block is not None and not _is_empty(block))


def bullets(texts: Iterable[str | tuple[str, str]], *, tone: Tone = "", brief: int | None = None) -> Bullets:
    """A list of texts, or of (name, text)."""
    items = (Item(text) if isinstance(text, str) else Item(text[1], text[0]) for text in texts)
    return Bullets(tuple(items), tone, brief)


def warnings(texts: Iterable[str]) -> list[Paragraph]:
    """A paragraph for each warning."""
    return [Paragraph(text, "warning") for text in texts]


def columns(*titles: str, left: Sequence[int] = (0,)) -> tuple[Column, ...]:
    """Columns of figures but for those at `left`."""
    return tuple(Column(title, right=place not in left) for place, title in enumerate(titles))


def _is_empty(block: Element) -> bool:
    match block:
        case Paragraph(text=text):
            return not text
        case Section(blocks=held, mark=None):
            return not held
        case Table(rows=held) | Pairs(items=held) | Bullets(items=held) | BarChart(bars=held):
            return not held
        case _:
            return False
