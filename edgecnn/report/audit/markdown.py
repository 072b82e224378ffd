"""An audit as Markdown: every file that was found, with the contact sheets beside it."""

from __future__ import annotations

from edgecnn.report.audit.findings import Finding, conclusion, findings, outcome
from edgecnn.report.audit.model import Audit
from edgecnn.report.audit.text import title
from edgecnn.report.profile.markdown import escape, table

COPIES, DOUBTS = "copies.png", "suspicious.png"


def render(audit: Audit) -> str:
    """A document that shows the contact sheets there are."""
    found = findings(audit)
    balance = audit.balance
    rows = [(name, *(f"{counts[part]:,}" for part in balance.parts)) for name, counts in balance.counts.items()]
    ratios = (f"{ratio:.1f} : 1" if (ratio := balance.ratio(part)) else "" for part in balance.parts)
    parts = [
        f"# {escape(title(audit))}",
        f"**{outcome(found)}**: {escape(conclusion(found))}",
        *(_finding(finding) for finding in found),
        f"![Copies]({COPIES})" if audit.copies else "",
        f"![Suspicious labels]({DOUBTS})" if audit.doubts and audit.doubts.doubts else "",
        "## Classes",
        table(("class", *balance.parts), [*rows, ("largest : smallest", *ratios)], right={1, 2}),
        "## Sizes and modes",
        _sizes(audit),
        "\n".join(f"- {escape(mode)}: {number:,}" for mode, number in audit.modes.items()),
        "\n".join(f"- {escape(note)}" for note in audit.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _finding(finding: Finding) -> str:
    lines = [f"## {'✗' if finding.serious else '!'} {escape(finding.text)}"]
    if finding.hint:
        lines.append(escape(finding.hint))
    if finding.examples:
        lines.append("\n".join(f"- {escape(example)}" for example in finding.examples))
    return "\n\n".join(lines)


def _sizes(audit: Audit) -> str:
    rows = [
        (
            part,
            f"{found.usual[0]} x {found.usual[1]} ({found.usual_images:,})",
            f"{found.smallest[0]} x {found.smallest[1]}",
            f"{found.largest[0]} x {found.largest[1]}",
            " / ".join(f"{value:.0f}" for value in found.shorter_quartiles),
            f"{found.different:,}",
        )
        for part, found in audit.sizes.items()
    ]
    titles = ("part", "most frequent", "smallest", "largest", "shorter side, quartiles", "different")
    return table(titles, rows, right={1, 2, 3, 4, 5}) if rows else ""


def files(audit: Audit) -> tuple[str, ...]:
    """The names of the files an audit is written to."""
    sheets = ((COPIES, audit.copies), (DOUBTS, audit.doubts and audit.doubts.doubts))
    return ("audit.md", "audit.json", *(name for name, pictures in sheets if pictures))
