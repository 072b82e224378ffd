"""An evaluation for a terminal: the figures, then where they come from."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgecnn.report.evaluation import words
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.report.profile import short
from edgecnn.tasks.classification.metrics import ClassificationScores

SHOWN_CLASSES = 10
SHOWN_PAIRS = 5
SHOWN_MISTAKES = 5


def render(evaluation: Evaluation, *, place: str = "") -> RenderableType:
    """The whole of it as a rich renderable; `place` is where the long tables are, if anywhere."""
    parts: list[RenderableType] = [Text(words.title(evaluation), "bold"), ""]
    parts += [Text(line, "yellow") for line in words.warnings(evaluation)]
    parts += [*([""] if len(parts) > 2 else []), _figures(evaluation), "", _where(evaluation)]
    if (scores := evaluation.classification) is not None:
        parts += [*_classes(scores, place), *_pairs(scores), *_hardest(evaluation)]
    return Group(*parts)


def _figures(evaluation: Evaluation) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True, style="bold")
    grid.add_column(style="dim", overflow="fold")
    for what, figure, remark in evaluation.result.figures:
        grid.add_row(Text(what), Text(figure), Text(remark))
    return grid


def _where(evaluation: Evaluation) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in words.where(evaluation):
        grid.add_row(name, Text(said))
    return grid


def _table(*titles: str) -> Table:
    """The first title stands on the left, figures on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    for place, title in enumerate(titles):
        table.add_column(
            title,
            justify="left" if place == 0 else "right",
            no_wrap=True,
            overflow="ellipsis" if place == 0 else "fold",
        )
    return table


def _classes(result: ClassificationScores, place: str) -> list[RenderableType]:
    scores = words.weakest(result)
    table = _table("class", "images", "predicted", "precision %", "recall %", "F1 %")
    for score in scores[:SHOWN_CLASSES]:
        shares = (f"{share * 100:.2f}" for share in (score.precision, score.recall, score.f1))
        table.add_row(Text(short(score.name)), f"{score.support:,}", f"{score.predicted:,}", *shares)
    heading = "classes, weakest first"
    rest = words.rest(min(SHOWN_CLASSES, len(scores)), len(scores), place)
    return ["", Text(heading, "bold"), table, *([Text(rest, "dim")] if rest else [])]


def _pairs(scores: ClassificationScores) -> list[RenderableType]:
    found = words.confused(scores, SHOWN_PAIRS)
    if not found:
        return []
    table = _table("true → predicted", "images", "of the class")
    for true, said, images, share in found:
        table.add_row(Text(f"{short(true, 32)} → {short(said, 32)}"), f"{images:,}", f"{share * 100:.1f} %")
    return ["", Text("most confused", "bold"), table]


def _hardest(evaluation: Evaluation) -> list[RenderableType]:
    if not evaluation.hardest:
        return ["", Text("no image was answered wrongly")]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True, style="dim")
    for item in evaluation.hardest[:SHOWN_MISTAKES]:
        said = f"{short(item.true, 24)}, taken for {short(item.predicted, 24)}"
        grid.add_row(Text(item.shown), Text(said), words.sure(item.confidence))
    heading = Text("surest mistakes (hard images, or wrong labels)", "bold")
    return ["", heading, Padding(grid, (0, 0, 0, 2))]
