"""An evaluation as Markdown: all of it, with the pictures beside it."""

from __future__ import annotations

from edgecnn.report.evaluation import words
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.report.profile.markdown import escape, table
from edgecnn.tasks.classification.metrics import BINS, ClassificationScores

CONFUSION, HARDEST = "confusion.png", "hardest.png"
SHOWN_PAIRS = 30


def render(evaluation: Evaluation) -> str:
    """A document that shows both pictures."""
    parts = [
        f"# {escape(words.title(evaluation))}",
        *(f"> **{escape(line)}**" for line in words.warnings(evaluation)),
        table(("", "", ""), evaluation.result.figures, right={1}),
        "\n".join(f"- {name}: {escape(said)}" for name, said in words.where(evaluation)),
        "\n".join(f"- {escape(note)}" for note in evaluation.notes),
        *(_of_classes(evaluation.classification) if evaluation.classification else ()),
        *_hardest(evaluation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of_classes(scores: ClassificationScores) -> list[str]:
    return [
        "## Confusion",
        f"![Confusion matrix]({CONFUSION})",
        _pairs(scores),
        "## Classes, weakest first",
        _classes(scores),
        "Macro: mean over the classes that have images. Weighted: by their images. Precision is 0 where no image was "
        "taken for the class.",
        "## Calibration",
        f"Images by the probability of the answer, in {BINS} bins of equal width "
        "([Guo et al. 2017](https://arxiv.org/abs/1706.04599)).",
        _bins(scores),
    ]


def _pairs(scores: ClassificationScores) -> str:
    rows = [
        (true, said, f"{images:,}", words.percent(share))
        for true, said, images, share in words.confused(scores, SHOWN_PAIRS)
    ]
    return table(("true", "predicted", "images", "of the class"), rows, right={2, 3}) if rows else "No mistakes."


def _classes(scores: ClassificationScores) -> str:
    rows = [
        (
            score.name,
            f"{score.support:,}",
            f"{score.predicted:,}",
            *(f"{share * 100:.2f}" for share in (score.precision, score.recall, score.f1)),
        )
        for score in words.weakest(scores)
    ]
    titles = ("class", "images", "predicted", "precision %", "recall %", "F1 %")
    return table(titles, rows, right={1, 2, 3, 4, 5})


def _bins(scores: ClassificationScores) -> str:
    rows = [
        (
            f"{item.low * 100:.1f} to {item.high * 100:.1f} %",
            f"{item.images:,}",
            words.percent(item.confidence),
            words.percent(item.accuracy),
        )
        for item in scores.bins
    ]
    return table(("confidence", "images", "mean confidence", "accuracy"), rows, right={1, 2, 3})


def _hardest(evaluation: Evaluation) -> list[str]:
    if not evaluation.hardest:
        return []
    rows = [
        (item.shown, item.true, item.predicted, words.percent(item.confidence), words.percent(item.true_confidence))
        for item in evaluation.hardest
    ]
    titles = ("image", "true", "predicted", "confidence", "of the true class")
    return ["## Surest mistakes", f"![The surest mistakes]({HARDEST})", table(titles, rows, right={3, 4})]


def files(evaluation: Evaluation) -> tuple[str, ...]:
    """The names of the files an evaluation is written to."""
    pictures = ((CONFUSION, evaluation.classification), (HARDEST, evaluation.hardest))
    return ("evaluation.md", "evaluation.json", *(name for name, there in pictures if there))
