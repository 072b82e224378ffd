"""`edgecnn report`: a finished run, shown again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, report_page

if TYPE_CHECKING:
    from edgecnn.report.model import Report


def _page(report: Report, options: Mapping[str, Any]) -> Any:
    from edgecnn.core import plugins

    name = options["format"]
    if name == "text":
        return report_page(report, options)
    return plugins.load("reporters", {"md": "markdown"}.get(name, name))(report).rstrip("\n")


@command("edgecnn.workflows.report:report", printer=_page, printed=("format",))
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run, or its report.json.")],
    format: Annotated[str, typer.Option("--format", "-f", metavar="WORD", help="text, md, html or json.")] = "text",
    json: options.Json = False,
) -> None:
    """Show the report of a finished run again. Nothing is run; the exit code is that of the run's verdict."""
