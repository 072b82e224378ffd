"""A document as one self-contained HTML page, all of it: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import re
from functools import singledispatch
from html import escape

from edgecnn.report import document as doc

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1f2328;--dim:#59636e;--rule:#d8dee4;--soft:#f3f5f7;--good:#1a7f37;
--bad:#cf222e;--warning:#9a6700;--integer:#0b8a86;--float:#d9781e;--conversion:#8250df;--other:#8c959f}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--dim:#9198a1;--rule:#2b323b;--soft:#171c23;
--good:#3fb950;--bad:#f85149;--warning:#d29922;--integer:#39c5bb;--float:#f0a04b;--conversion:#b794f6;--other:#768390}}
.report{background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:0 auto;
padding:1rem}
.report h1{font-size:1.6em}.report h2{font-size:1.2em;border-bottom:1px solid var(--rule)}
.report .scroll{overflow-x:auto}
.report table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.report th,.report td{padding:.2rem .7rem;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap}
.report th{color:var(--dim);font-weight:500}.report .right{text-align:right}.report td.text{white-space:normal}
.report tr.break td{border-bottom:2px solid var(--dim)}
.report dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1.5rem}.report dd{margin:0}
.report dt,.report .dim,.report .interval{color:var(--dim)}.report .interval{font-size:.85em}
.report .good{color:var(--good);font-weight:600}.report .bad{color:var(--bad);font-weight:600}
.report .warning{color:var(--warning)}.report .strong{font-weight:600}
.report p.warning{border-left:4px solid var(--warning);background:var(--soft);padding:.4rem 1rem}
.report .bar{display:block;width:12rem;height:.8rem}.report svg,.report img{max-width:100%;height:auto}
.report .fill-integer{fill:var(--integer)}.report .fill-float{fill:var(--float)}
.report .fill-conversion{fill:var(--conversion)}.report .fill-other{fill:var(--other)}
"""
_NOT_HTML = re.compile("[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
OUTCOME_TONES = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "warning"}


def render(document: doc.Document) -> str:
    """The document as a whole page; it ends in a newline."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(document.title)}</title>\n</head>\n<body>\n{fragment(document)}\n</body>\n</html>\n"
    )


def fragment(document: doc.Document) -> str:
    """The document with its style as one element, for a notebook."""
    parts = [f"<h1>{_text(document.title)}</h1>"]
    if document.verdict is not None:
        outcome, why = document.verdict
        parts.append(f'<p><span class="{OUTCOME_TONES[outcome]}">{outcome}</span> {_text(why)}</p>')
    parts += [_block(block, 2) for block in document.blocks]
    return f'<div class="report">\n<style>{STYLE}</style>\n{chr(10).join(parts)}\n</div>'


def _text(text: str) -> str:
    """A text as HTML: escaped, without the characters that no page may hold."""
    return escape(_NOT_HTML.sub("", text))


def _class(*names: str) -> str:
    given = " ".join(name for name in names if name)
    return f' class="{given}"' if given else ""


@singledispatch
def _block(block: doc.Element, level: int) -> str:
    raise NotImplementedError(type(block).__name__)


@_block.register
def _section(block: doc.Section, level: int) -> str:
    mark = f"<span{_class(block.mark[1])}>{_text(block.mark[0])}</span> " if block.mark else ""
    inner = "\n".join(_block(item, level + 1) for item in block.blocks)
    return f"<section>\n<h{level}>{mark}{_text(block.heading)}</h{level}>\n{inner}\n</section>"


@_block.register
def _pairs(block: doc.Pairs, level: int) -> str:
    tag = ("<code>", "</code>") if block.code else ("", "")
    items = (f"<dt>{_text(name)}</dt><dd>{tag[0]}{_text(value)}{tag[1]}</dd>" for name, value in block.items)
    return f"<dl>{''.join(items)}</dl>"


@_block.register
def _paragraph(block: doc.Paragraph, level: int) -> str:
    return f"<p{_class(block.tone)}>{_text(block.text)}</p>"


@_block.register
def _bullets(block: doc.Bullets, level: int) -> str:
    return f"<ul{_class(block.tone)}>{''.join(map(_item, block.items))}</ul>"


@_block.register
def _picture(block: doc.Picture, level: int) -> str:
    return block.svg or f'<img src="{_text(block.file)}" alt="{_text(block.about)}">'


def _item(item: doc.Item) -> str:
    name = f"<strong>{_text(item.name)}</strong>: " if item.name else ""
    detail = f' <span class="dim">({_text(item.detail)})</span>' if item.detail else ""
    children = "".join(f"<li>{_text(child)}</li>" for child in item.children)
    return f"<li>{name}{_text(item.text)}{detail}{f'<ul>{children}</ul>' if children else ''}</li>"


@_block.register
def _table(table: doc.Table, level: int) -> str:
    head = "".join(
        f"<th{_class('right' if column.right else '')}>{_text(column.title)}</th>" for column in table.columns
    )
    rows = (
        f"<tr{_class('break' if number in table.breaks else '')}>"
        + "".join(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))
        + "</tr>"
        for number, row in enumerate(table.rows)
    )
    titles = f"<thead><tr>{head}</tr></thead>" if any(column.title for column in table.columns) else ""
    notes = f'<ul class="dim">{"".join(f"<li>{_text(note)}</li>" for note in table.notes)}</ul>' if table.notes else ""
    body = "\n".join(rows)
    return f'<div class="scroll"><table>{titles}<tbody>\n{body}\n</tbody></table></div>{notes}'


def _cell(cell: doc.Cell | str, column: doc.Column) -> str:
    cell = doc.Cell(cell) if isinstance(cell, str) else cell
    text = f"<code>{_text(cell.text)}</code>" if cell.code and cell.text else _text(cell.text)
    interval = f' <span class="interval">{_text(cell.interval)}</span>' if cell.interval else ""
    return f"<td{_class('right' if column.right else 'text', cell.tone)}>{text}{interval}</td>"


@_block.register
def _bars(block: doc.BarChart, level: int) -> str:
    """A table whose second column is drawn."""
    label, *figures = (
        f"<th{_class('right' if place else '')}>{_text(title)}</th>" for place, title in enumerate(block.titles)
    )
    rows = []
    for bar in block.bars:
        cells = "".join(f'<td class="right">{_text(figure)}</td>' for figure in bar.figures)
        rows.append(f"<tr><td>{_text(bar.label)}</td><td>{_drawn(bar)}</td>{cells}</tr>")
    return f"<table><thead><tr>{label}<th></th>{''.join(figures)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _drawn(bar: doc.Bar) -> str:
    if bar.share is None:
        return ""
    width = 100 * min(1.0, max(0.0, bar.share))
    rectangle = f'<rect class="fill-{bar.tone or "other"}" width="{width:.2f}" height="6"/>'
    return f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img">{rectangle}</svg>'
