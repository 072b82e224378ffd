"""A document of every element, rendered three times: nothing is lost on a page, and no text is taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from edgecnn.report import html, markdown, text
from edgecnn.report.document import (
    Bar,
    BarChart,
    Bullets,
    Cell,
    Column,
    Document,
    Item,
    Pairs,
    Paragraph,
    Picture,
    Section,
    Table,
    bullets,
    present,
    section,
    warnings,
)
from edgecnn.report.model import Report

HOSTILE = "</td><script>alert(1)</script> & \"q\" 'p' `c` | *b* _i_ [l](javascript:x) ![i](x) $m$ ~s~"
VOID = {"meta", "img", "rect"}


def shown(document: Document, width: int = 100, place: str = "") -> str:
    sink = StringIO()
    Console(file=sink, width=width, color_system=None, highlight=False, markup=False, emoji=False).print(
        text.render(document, place=place)
    )
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


class Page(HTMLParser):
    """The tags of a page in order; fails where they are not closed in turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def whole(word: str = "word", rows: int = 20) -> Document:
    """Every element, each text beginning with its own name."""
    cells = tuple(
        (f"name {number} {word}", Cell("1.5", "1.4 … 1.6"), Cell(f"code {word}", code=True)) for number in range(rows)
    )
    columns = (Column(f"title {word}"), Column("figure", right=True), Column("file", full=True))
    chart = BarChart(("kind", "time", "layers"), (Bar(f"bar {word}", ("1 ms", "2 layers"), 0.5, "float"),))
    items = (Item(f"item {word}", "who", f"detail {word}", tuple("abcde")), Item("only", full=True))
    return Document(
        f"whole {word}",
        present(
            *warnings([f"warning {word}"]),
            Pairs((("key", f"value {word}"),)),
            Pairs((("key", f"verbatim {word}"),), code=True),
            Picture("a.svg", f"about {word}"),
            section("table", Table(columns, cells, frozenset({0}), brief=4, notes=(f"note {word}",))),
            section("chart", chart),
            section("list", Bullets(items)),
            section("conclusion", bullets([f"conclusion {word}"]), last=True),
            section("bare", Paragraph(f"paragraph {word}"), bare=True),
            section("everything", Paragraph(f"full {word}"), full=True),
            Section(f"finding {word}", present(Paragraph("hint")), mark=("✗", "bad")),
            Section(f"finding alone {word}", (), mark=("!", "warning")),
            section("nothing in it", Paragraph("")),
        ),
        ("FAIL", f"why {word}"),
    )


NAMES = ("whole", "warning", "value", "verbatim", "about", "name 19", "code", "note", "bar", "item", "detail")
NAMES = (*NAMES, "conclusion", "paragraph", "full", "finding", "finding alone", "why", "title")


def test_a_page_has_everything() -> None:
    page = Page(html.render(whole()))
    for name in NAMES:
        assert f"{name} word" in markdown.render(whole()), name
        assert f"{name} word" in page.text or name == "about", name
    assert page.tags.count("tr") == 1 + 20 + 1 + 1 and "img" in page.tags
    for rendered in (markdown.render(whole()), page.text):
        assert "nothing in it" not in rendered, "an empty section has no title"
        assert rendered.index("why word") < rendered.index("warning word")


def test_a_terminal_is_brief_and_ends_with_conclusion_and_verdict() -> None:
    page = shown(whole(), place="all.md")
    for left_out in ("full word", "detail word", "code word", "about word", "name 19", "only", "bare\n"):
        assert left_out not in page
    assert "and 16 more, all of them in all.md" in page and "and 2 more, all of them in all.md" in page
    assert page.index("finding word") < page.index("conclusion word") < page.index("why word")
    assert page.splitlines()[-1].split() == ["FAIL", "why", "word"]


def test_both_ends_of_a_long_table_are_shown() -> None:
    rows = tuple((f"row {number:02d}",) for number in range(30))
    page = shown(Document("t", (Table((Column("c"),), rows, brief=6, both_ends=True),)))
    assert re.findall(r"row \d\d", page) == ["row 00", "row 01", "row 02", "row 27", "row 28", "row 29"]
    assert "24 between" in page


def test_a_narrow_terminal_stacks_intervals_then_leaves_out_the_least_needed() -> None:
    columns = (Column("name"), *(Column(f"c{number}", right=True, optional=number) for number in range(6)))
    row = ("a name", *(Cell("12345", "12000 … 13000") for _ in range(6)))
    table = Document("t", (Table(columns, (row,)),))
    assert "12345  12000 … 13000" in shown(table, 200)
    assert "12000…13000" in shown(table, 90) and "c5" in shown(table, 90)
    narrow = shown(table, 50)
    assert "c5" not in narrow and "c0" in narrow and "c1" in narrow
    assert all(len(line) <= 50 for line in narrow.splitlines())


def test_a_hostile_text_stays_a_text() -> None:
    page = Page(html.render(whole(HOSTILE)))
    assert "script" not in page.tags and page.text.count(HOSTILE) >= 15
    assert set(page.tags) == set(Page(html.render(whole())).tags)
    written = re.sub(r"`[^`\n]*`", "", markdown.render(whole(HOSTILE)))
    assert not re.search(r"(?<!\\)(<script|\]\(javascript|\*b\*|_i_|`c`|\$m|~s)", written)
    columns = {len(re.sub(r"\\\|", "", line).split("|")) for line in written.splitlines() if line.startswith("| name")}
    assert columns == {5}
    assert HOSTILE in shown(whole(HOSTILE), 300)


@pytest.mark.parametrize("line", ["# a", "> a", "- a", "+ a"])
def test_a_line_does_not_begin_what_it_is_not(line: str) -> None:
    assert markdown.escape(line) == f"\\{line}"
    assert markdown.escape(f"a {line} snake_case 5 %") == f"a {line} snake_case 5 %"


def test_what_no_page_can_hold_is_left_out() -> None:
    assert "<p>ab</p>" in html.render(Document("t", (Paragraph("a\x00\x1b\ud800b"),)))


def test_a_report_is_one_self_contained_page(report: Report) -> None:
    raw = report.to_html()
    page = Page(raw)
    for word in ("PASS", "INCONCLUSIVE", "75.25", "1.75x", "stem/conv", "narrow range", "e5" * 32):
        assert word in page.text
    for outside in ("<script", "<link", "@import", "url(", "src=", "href="):
        assert outside not in raw
    assert report._repr_html_() in raw, "a notebook shows the same"
