"""Output of a check: its pages, its JSON, the contact sheet of what broke, JUnit's XML; and baseline files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgecnn.core.store import make_folder, write_atomically
from edgecnn.data.evaluation_set import EvaluationSet
from edgecnn.data.images import ImageSet
from edgecnn.data.splits import are_classes
from edgecnn.formats.registry import runtime_packages
from edgecnn.report import archive, html, markdown
from edgecnn.report.check import junit
from edgecnn.report.check.document import BROKEN, document, title
from edgecnn.report.check.model import CheckedModel, RegressionCheck
from edgecnn.report.contact_sheet import SheetPicture, write_sheet
from edgecnn.tasks.task import Answers, Task
from edgecnn.workflows.check.baseline_file import BaselineFile
from edgecnn.workflows.optimize.planning import versions


def write(check: RegressionCheck, *, folder: Path | None, junit_file: Path | None) -> None:
    """Write check.md, check.html, check.json and broken.png into `folder`, and JUnit's file. Raises CannotWrite."""
    if folder is not None:
        _write_pages(check, folder)
    if junit_file is not None:
        make_folder(junit_file.parent)
        write_atomically(junit_file, junit.render(check))


def _write_pages(check: RegressionCheck, folder: Path) -> None:
    make_folder(folder)
    page = document(check)
    write_atomically(folder / "check.md", markdown.render(page))
    write_atomically(folder / "check.html", html.render(page))
    cells = [
        SheetPicture(item.path, (f"says {item.answer.answer}", f"is {item.answer.expected}", item.shown))
        for item in check.changed
        if item.path is not None
    ]
    if cells:
        write_sheet(cells, folder / BROKEN, title=f"{title(check)}: what broke")
    else:
        (folder / BROKEN).unlink(missing_ok=True)
    write_atomically(folder / "check.json", archive.dumps(check.to_dict()))


def named(labels: Sequence[Any] | None, names: Sequence[str]) -> tuple[str, ...] | None:
    """Labels as texts: the classes' names, where they are classes."""
    if labels is None:
        return None
    return tuple(names[label] if are_classes([label]) and 0 <= label < len(names) else str(label) for label in labels)


def recorded(answers: Answers, model: CheckedModel, judging: EvaluationSet, task: Task) -> BaselineFile:
    """A baseline file of a model's answers to image files."""
    images = answers.images
    assert isinstance(images, ImageSet)
    labels = named(images.labels, judging.class_names)
    figures = task.score(answers, judging.class_names).figures if labels is not None else ()
    source = Path(str(judging.facts["source"]))
    place = source.name if source.is_absolute() else source.as_posix()  # a file for a repository names no machine
    facts = {"source": place, "form": judging.facts["form"], "digest": judging.facts["digest"]}
    return BaselineFile(
        model=replace(model, architecture=re.sub(r".*[/\\](?=[^/\\]+\.py:)", "", model.architecture)),
        task=task.name,
        classes=judging.class_names,
        data={**facts, "images": len(images)},
        versions=versions(("edgecnn", *runtime_packages(), "torch")),
        figures=tuple((name, figure) for name, figure, _ in figures),
        images=tuple(zip(images.ids, images.file_digests(), strict=True)),
        labels=labels,
        answers=task.pack(answers.outputs),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
