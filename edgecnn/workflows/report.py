"""Report of a finished run: read again from its folder, to be shown in any form."""

from __future__ import annotations

from pathlib import Path

from edgecnn.report.model import Report
from edgecnn.workflows.arguments import PathLike


def report(run: PathLike) -> Report:
    """The report of the run in the folder `run` (or its report.json).

    Raises InputError where there is none, where it is damaged, or where a newer edgecnn wrote it.
    """
    return Report.load(Path(run))
