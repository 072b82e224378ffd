"""`edgecnn doctor`: this host, what is installed, what works, and what to type for what does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import console, options
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


def _page(checkup: HostCheckup) -> Any:
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text("host", "bold"), console.grid(checkup.host.items(), "dim", "")]
    for title, checks in checkup.groups().items():
        parts += ["", Text(title, "bold"), console.grid(map(_check, checks), "", "", "", "")]
    return Group(*parts, "", _conclusion(checkup))


def _check(check: Check) -> tuple[Any, ...]:
    from rich.text import Text

    detail = Text(check.detail, "red" if check.status == "broken" else "dim")
    return Text(*MARKS[check.status]), check.name, Text(check.version or "", "dim"), detail


def _conclusion(checkup: HostCheckup) -> Any:
    from rich.text import Text

    commands = checkup.commands()
    if not commands:
        return Text("everything works", "green")
    core = ("the core works", "green") if checkup.ok else ("the core does not work", "bold red")
    advice = "; for the rest, type:" if checkup.ok else "; type:"
    return Text.assemble(core, advice, *((f"\n  {line}", "bold") for line in commands))
