"""An audit as a document: each finding with what to do, then the figures behind it."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.core.units import count, percent
from edgecnn.report import document as doc
from edgecnn.report import markdown
from edgecnn.report.audit.findings import DataFinding, conclusion, findings, outcome
from edgecnn.report.audit.model import Audit

COPIES, DOUBTS = "copies.png", "suspicious.png"
SHOWN_EXAMPLES = 3
SHOWN_CLASSES = 12
"""The largest and the smallest of many."""


def document(audit: Audit) -> doc.Document:
    """The whole audit, every file that was found, with the contact sheets there are beside it."""
    audit_findings = findings(audit)
    blocks = (
        *(_finding(finding) for finding in audit_findings),
        doc.Paragraph("" if audit_findings else "nothing to remark"),
        doc.Picture(COPIES, "Copies") if audit.copies else None,
        doc.Picture(DOUBTS, "Suspicious labels") if audit.doubts and audit.doubts.doubts else None,
        doc.section("classes", _classes(audit), bare=True),
        doc.section("sizes and modes", *_sizes(audit), bare=True),
        doc.section("notes", doc.bullets(audit.notes), full=True),
    )
    return doc.Document(title(audit), doc.present(*blocks), (outcome(audit_findings), conclusion(audit_findings)))


def to_markdown(audit: Audit) -> str:
    """The whole of it as Markdown."""
    return markdown.render(document(audit))


def files(audit: Audit) -> tuple[str, ...]:
    """The names of the files an audit is written to."""
    sheets = ((COPIES, audit.copies), (DOUBTS, audit.doubts and audit.doubts.doubts))
    return ("audit.md", "audit.json", *(name for name, pictures in sheets if pictures))


def title(audit: Audit) -> str:
    """What was looked at: `photos: 1,200 images (1,000 train, 200 val) of 10 classes`."""
    counts = {part: audit.parts.count(part) for part in audit.balance.parts}
    divided = "" if len(counts) == 1 else f" ({', '.join(f'{number:,} {part}' for part, number in counts.items())})"
    classes = count(len(audit.balance.counts), "class", "classes")
    return f"{audit.source}: {count(len(audit.parts), 'image')}{divided} of {classes}"


def _finding(finding: DataFinding) -> doc.Section:
    blocks = doc.present(doc.Paragraph(finding.hint), doc.bullets(finding.examples, tone="dim", brief=SHOWN_EXAMPLES))
    return doc.Section(finding.text, blocks, mark=("✗", "bad") if finding.serious else ("!", "warning"))


def _classes(audit: Audit) -> doc.Table:
    balance = audit.balance
    rows = [(name, *(f"{counts[part]:,}" for part in balance.parts)) for name, counts in balance.counts.items()]
    ratios = ("" if (ratio := balance.ratio(part)) is None else f"{ratio:.1f} : 1" for part in balance.parts)
    titles = (doc.Column("class", width=40), *(doc.Column(part, right=True) for part in balance.parts))
    rows.append(("largest : smallest", *ratios))
    return doc.Table(titles, tuple(rows), frozenset({len(rows) - 2}), brief=SHOWN_CLASSES + 1, both_ends=True)


def _sizes(audit: Audit) -> Iterator[doc.Element]:
    rows = tuple(
        (
            part,
            f"{_pixels(sizes.usual)} ({percent(sizes.usual_images / sizes.images, 0)})",
            *(_pixels(sizes.smallest), _pixels(sizes.largest)),
            " ".join(f"{value:.0f}" for value in sizes.shorter_quartiles),
            f"{sizes.different:,}",
        )
        for part, sizes in audit.sizes.items()
    )
    titles = ("pixels", "most frequent", "smallest", "largest", "shorter side, quartiles", "different")
    yield doc.Table(doc.columns(*titles), rows)
    modes = ", ".join(f"{mode} {number:,}" for mode, number in audit.modes.items())
    yield doc.Paragraph(f"modes: {modes}" if modes else "", "dim")


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
