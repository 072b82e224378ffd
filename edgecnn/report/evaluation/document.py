"""An evaluation as a document: the figures, where they come from, each class, confusion, calibration, mistakes."""

from __future__ import annotations

from edgecnn.core.units import count, percent
from edgecnn.report import markdown
from edgecnn.report.document import (
    Cell,
    Column,
    Document,
    Element,
    Pairs,
    Paragraph,
    Picture,
    Table,
    bullets,
    columns,
    present,
    section,
)
from edgecnn.report.document import warnings as warning_paragraphs
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.report.evaluation.warnings import warnings
from edgecnn.tasks.classification.metrics import BINS, ClassificationScores, ClassScore

CONFUSION, HARDEST = "confusion.png", "hardest.png"
PAIRS = 30


def document(evaluation: Evaluation) -> Document:
    """The whole evaluation, with its pictures beside it."""
    scores = evaluation.classification
    blocks: tuple[Element | None, ...] = (
        *warning_paragraphs(warnings(evaluation)),
        _figures(evaluation),
        Pairs(tuple(_where(evaluation))),
        section("notes", bullets(evaluation.notes), full=True),
        *(_of_classes(scores) if scores else ()),
        section("surest mistakes (hard images, or wrong labels)", *_hardest(evaluation)),
    )
    return Document(title(evaluation), present(*blocks))


def to_markdown(evaluation: Evaluation) -> str:
    """The whole of it as Markdown."""
    return markdown.render(document(evaluation))


def files(evaluation: Evaluation) -> tuple[str, ...]:
    """The names of the files an evaluation is written to."""
    pictures = ((CONFUSION, evaluation.classification), (HARDEST, evaluation.hardest))
    return ("evaluation.md", "evaluation.json", *(name for name, there in pictures if there))


def _of_classes(scores: ClassificationScores) -> tuple[Element, ...]:
    averages = (
        "Macro: mean over the classes that have images. Weighted: by their images. Precision is 0 where no image was "
        "taken for the class."
    )
    bins = f"Images by the probability of the answer, in {BINS} bins of equal width (arXiv:1706.04599)."
    return (
        section("classes, weakest first", _classes(scores), Paragraph(averages, "dim")),
        section("most confused", Picture(CONFUSION, "Confusion matrix"), _pairs(scores)),
        section("calibration", Paragraph(bins), _bins(scores), full=True),
    )


def title(evaluation: Evaluation) -> str:
    """`model.onnx on 1,000 images of 10 classes`, or how many of the network's classes have images."""
    scores, of_classes = evaluation.classification, ""
    if scores is not None:
        with_images, known = len(scores.present), len(scores.classes)
        of_classes = f" of {known} classes" if with_images == known else f" of {with_images} of its {known} classes"
    return f"{evaluation.file} on {count(evaluation.result.images, 'image')}{of_classes}"


def sure(confidence: float) -> str:
    """How sure the model was: never quite, after rounding."""
    return ">99.9 % sure" if confidence > 0.999 else f"{confidence * 100:.1f} % sure"


def _where(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was judged, on what, and how: (name, words)."""
    model = evaluation.model
    architecture = model.get("architecture")
    known = f"{architecture}, {model['format']}" if architecture not in (None, "unknown") else str(model["format"])
    rows = [
        ("model", known),
        ("runtime", evaluation.runtime),
        ("data", str(evaluation.data.get("source", ""))),
        ("input", f"{_preprocessing(evaluation)} ({evaluation.preprocessing_source})"),
    ]
    return [*rows, ("averaged", evaluation.tta)] if evaluation.tta else rows


def _preprocessing(evaluation: Evaluation) -> str:
    raw = evaluation.preprocessing
    height, width = raw["crop"]
    resize = "stretched to " if raw["stretch"] else f"resize {raw['resize']}, crop " if raw["resize"] else "crop "
    mean, std = (" ".join(f"{value:g}" for value in raw[key]) for key in ("mean", "std"))
    return f"{resize}{height}x{width}, {raw['color']}, mean {mean}, std {std}"


def _figures(evaluation: Evaluation) -> Table:
    """Figures with a remark each, most important first."""
    cells = tuple(
        (name, Cell(figure, tone="strong"), Cell(remark, tone="dim"))
        for name, figure, remark in evaluation.result.figures
    )
    return Table(columns("", "", "", left=(0, 2)), cells, plain=True)


def _weakest(scores: ClassificationScores) -> list[ClassScore]:
    """The classes that have images, lowest F1 first."""
    return sorted(scores.present, key=lambda score: (score.f1, -score.support, score.index))


def _classes(scores: ClassificationScores) -> Table:
    rows = tuple(
        (
            *(score.name, f"{score.support:,}", f"{score.predicted:,}"),
            *(percent(share, sign=False) for share in (score.precision, score.recall, score.f1)),
        )
        for score in _weakest(scores)
    )
    titles = columns("class", "images", "predicted", "precision %", "recall %", "F1 %")
    return Table((Column("class", width=48), *titles[1:]), rows, brief=10)


def _pairs(scores: ClassificationScores) -> Table | Paragraph:
    """The most frequent mistakes: true class, predicted class, images, share of the true class."""
    names = scores.classes
    rows = tuple(
        (names[true].name, names[predicted].name, f"{images:,}", percent(images / names[true].support))
        for true, predicted, images in scores.confused(PAIRS)
    )
    named = (Column("true", width=32), Column("predicted", width=32))
    if not rows:
        return Paragraph("no image was answered wrongly")
    return Table((*named, Column("images", right=True), Column("of the class", right=True)), rows, brief=5)


def _bins(scores: ClassificationScores) -> Table:
    rows = tuple(
        (
            f"{item.low * 100:.1f} to {item.high * 100:.1f} %",
            f"{item.images:,}",
            percent(item.confidence),
            percent(item.accuracy),
        )
        for item in scores.bins
    )
    return Table(columns("confidence", "images", "mean confidence", "accuracy"), rows)


def _hardest(evaluation: Evaluation) -> list[Element]:
    if not evaluation.hardest:
        return []
    rows = tuple(
        (item.shown, item.true, item.predicted, percent(item.confidence), percent(item.true_confidence))
        for item in evaluation.hardest
    )
    named = (Column("image"), Column("true", width=24), Column("predicted", width=24))
    figures = (Column("confidence", right=True), Column("of the true class", right=True, full=True))
    return [Picture(HARDEST, "The surest mistakes"), Table((*named, *figures), rows, brief=5)]
