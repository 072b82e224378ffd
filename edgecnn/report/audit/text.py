"""An audit for a terminal: what was found, then the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgecnn.report.audit.findings import Finding, conclusion, findings, outcome
from edgecnn.report.audit.model import Audit
from edgecnn.report.evaluation.words import count
from edgecnn.report.profile import short
from edgecnn.report.text import BADGES

SHOWN_EXAMPLES = 3
SHOWN_CLASSES = 12
"""The largest and the smallest of many."""


def render(audit: Audit, *, place: str = "") -> RenderableType:
    """The whole of it as a rich renderable; `place` is where everything is listed, if anywhere."""
    found = findings(audit)
    parts: list[RenderableType] = [Text(title(audit), "bold"), ""]
    parts += [_finding(finding, place) for finding in found]
    parts += [Text("nothing to remark")] if not found else []
    parts += ["", _classes(audit, place), "", _sizes(audit)]
    badge = outcome(found)
    return Group(*parts, "", Text.assemble((f" {badge} ", BADGES[badge]), " ", conclusion(found)))


def title(audit: Audit) -> str:
    counts = {part: audit.parts.count(part) for part in audit.balance.parts}
    divided = "" if len(counts) == 1 else f" ({', '.join(f'{number:,} {part}' for part, number in counts.items())})"
    classes = count(len(audit.balance.counts), "class", "classes")
    return f"{audit.source}: {count(len(audit.parts), 'image')}{divided} of {classes}"


def _finding(finding: Finding, place: str) -> RenderableType:
    mark = ("✗ ", "bold red") if finding.serious else ("! ", "bold yellow")
    lines: list[RenderableType] = [Text.assemble(mark, finding.text)]
    lines += [Padding(Text(example, "dim"), (0, 0, 0, 4)) for example in finding.examples[:SHOWN_EXAMPLES]]
    left = len(finding.examples) - SHOWN_EXAMPLES
    if left > 0:
        lines.append(
            Padding(Text(f"and {left:,} more{f', all of them in {place}' if place else ''}", "dim"), (0, 0, 0, 4))
        )
    if finding.hint:
        lines.append(Padding(Text(finding.hint), (0, 0, 0, 2)))
    return Group(*lines)


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for number, name in enumerate(titles):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _classes(audit: Audit, place: str) -> RenderableType:
    balance = audit.balance
    table = _table("class", *balance.parts)
    rows = list(balance.counts.items())
    half = SHOWN_CLASSES // 2
    left_out = len(rows) - SHOWN_CLASSES
    for number, (name, counts) in enumerate(rows):
        if left_out > 0 and half <= number < len(rows) - half:
            if number == half:
                table.add_row(Text(f"… {left_out:,} between", "dim"))
            continue
        table.add_row(Text(short(name, 40)), *(f"{counts[part]:,}" for part in balance.parts))
    ratios: Sequence[str] = [
        "" if (ratio := balance.ratio(part)) is None else f"{ratio:.1f} : 1" for part in balance.parts
    ]
    table.add_section()
    table.add_row(Text("largest : smallest", "dim"), *ratios)
    return table


def _sizes(audit: Audit) -> RenderableType:
    table = _table("pixels, width x height", *audit.sizes)
    found = list(audit.sizes.values())
    table.add_row("most frequent", *(f"{_size(one.usual)} ({one.usual_images / one.images:.0%})" for one in found))
    table.add_row("smallest", *(_size(one.smallest) for one in found))
    table.add_row("largest", *(_size(one.largest) for one in found))
    table.add_row(
        "shorter side, quartiles", *(" ".join(f"{value:.0f}" for value in one.shorter_quartiles) for one in found)
    )
    table.add_row("different sizes", *(f"{one.different:,}" for one in found))
    modes = ", ".join(f"{mode} {number:,}" for mode, number in audit.modes.items())
    return Group(table, Text(f"modes: {modes}", "dim")) if modes else table


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
