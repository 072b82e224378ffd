"""`edgecnn doctor`: this host, what is installed, what works, and what to type for what does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command

if TYPE_CHECKING:
    from edgecnn.workflows.doctor import Check, HostCheckup

MARKS = {"ok": ("✓", "green"), "missing": ("–", "dim"), "broken": ("✗", "red")}


@command("edgecnn.workflows.doctor:doctor", printer=lambda checkup, _: _page(checkup))
def doctor(
    out: Annotated[Path, typer.Option(help="The output folder to try writing to.")] = Path("runs"),
    json: options.PrintJson = False,
) -> None:
    """Show what works on this host, and what to type for the rest.

    Exits 4 when a part of the core is missing.
    """


def _page(found: HostCheckup) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    host = Table.grid(padding=(0, 2))
    host.add_column(style="dim", no_wrap=True)
    host.add_column(overflow="fold")
    for label, value in found.host.items():
        host.add_row(label, Text(value))
    parts: list[Any] = [Text("host", "bold"), host]
    for title, checks in found.groups().items():
        parts += ["", Text(title, "bold"), _checks(checks)]
    return Group(*parts, "", _conclusion(found))


def _checks(checks: list[Check]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        does = Text(check.detail, "red" if check.status == "broken" else "dim")
        table.add_row(Text(*MARKS[check.status]), Text(check.name), Text(check.version or "", "dim"), does)
    return table


def _conclusion(found: HostCheckup) -> Any:
    from rich.text import Text

    commands = found.commands()
    if not commands:
        return Text("everything works", "green")
    first = ("the core works", "green") if found.ok else ("the core does not work", "bold red")
    lines = Text.assemble(first, ("; for the rest, type:" if found.ok else "; type:"))
    for line in commands:
        lines.append(f"\n  {line}", "bold")
    return lines
