"""An evaluation as a document: the figures, where they come from, each class, confusion, calibration, mistakes."""

from __future__ import annotations

from edgecnn.core.units import count, percent
from edgecnn.report import document as doc
from edgecnn.report import markdown
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.report.evaluation.warnings import warnings
from edgecnn.tasks.classification.metrics import BINS, ClassificationScores, ClassScore

CONFUSION, HARDEST = "confusion.png", "hardest.png"
PAIRS = 30


def document(evaluation: Evaluation) -> doc.Document:
    """The whole evaluation, with its pictures beside it."""
    scores = evaluation.classification
    blocks: tuple[doc.Element | None, ...] = (
        *doc.warnings(warnings(evaluation)),
        _figures(evaluation),
        doc.Pairs(tuple(_where(evaluation))),
        doc.section("notes", doc.bullets(evaluation.notes), full=True),
        *(_of_classes(scores) if scores else ()),
        doc.section("surest mistakes (hard images, or wrong labels)", *_hardest(evaluation)),
    )
    return doc.Document(title(evaluation), doc.present(*blocks))


def to_markdown(evaluation: Evaluation) -> str:
    """The whole of it as Markdown."""
    return markdown.render(document(evaluation))


def files(evaluation: Evaluation) -> tuple[str, ...]:
    """The names of the files an evaluation is written to."""
    pictures = ((CONFUSION, evaluation.classification), (HARDEST, evaluation.hardest))
    return ("evaluation.md", "evaluation.json", *(name for name, there in pictures if there))


def _of_classes(scores: ClassificationScores) -> tuple[doc.Element, ...]:
    averages = (
        "Macro: mean over the classes that have images. Weighted: by their images. Precision is 0 where no image was "
        "taken for the class."
    )
    bins = f"Images by the probability of the answer, in {BINS} bins of equal width (arXiv:1706.04599)."
    return (
        doc.section("classes, weakest first", _classes(scores), doc.Paragraph(averages, "dim")),
        doc.section("most confused", doc.Picture(CONFUSION, "Confusion matrix"), _pairs(scores)),
        doc.section("calibration", doc.Paragraph(bins), _bins(scores), full=True),
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


def _figures(evaluation: Evaluation) -> doc.Table:
    """Figures with a remark each, most important first."""
    cells = tuple(
        (name, doc.Cell(figure, tone="strong"), doc.Cell(remark, tone="dim"))
        for name, figure, remark in evaluation.result.figures
    )
    return doc.Table(doc.columns("", "", "", left=(0, 2)), cells, plain=True)


def _weakest(scores: ClassificationScores) -> list[ClassScore]:
    """The classes that have images, lowest F1 first."""
    return sorted(scores.present, key=lambda score: (score.f1, -score.support, score.index))


def _classes(scores: ClassificationScores) -> doc.Table:
    rows = tuple(
        (
            *(score.name, f"{score.support:,}", f"{score.predicted:,}"),
            *(percent(share, sign=False) for share in (score.precision, score.recall, score.f1)),
        )
        for score in _weakest(scores)
    )
    titles = doc.columns("class", "images", "predicted", "precision %", "recall %", "F1 %")
    return doc.Table((doc.Column("class", width=48), *titles[1:]), rows, brief=10)


def _pairs(scores: ClassificationScores) -> doc.Table | doc.Paragraph:
    """The most frequent mistakes: true class, predicted class, images, share of the true class."""
    names = scores.classes
    rows = tuple(
        (names[true].name, names[predicted].name, f"{images:,}", percent(images / names[true].support))
        for true, predicted, images in scores.confused(PAIRS)
    )
    named = (doc.Column("true", width=32), doc.Column("predicted", width=32))
    if not rows:
        return doc.Paragraph("no image was answered wrongly")
    return doc.Table((*named, doc.Column("images", right=True), doc.Column("of the class", right=True)), rows, brief=5)


def _bins(scores: ClassificationScores) -> doc.Table:
    rows = tuple(
        (
            f"{item.low * 100:.1f} to {item.high * 100:.1f} %",
            f"{item.images:,}",
            percent(item.confidence),
            percent(item.accuracy),
        )
        for item in scores.bins
    )
    return doc.Table(doc.columns("confidence", "images", "mean confidence", "accuracy"), rows)


def _hardest(evaluation: Evaluation) -> list[doc.Element]:
    if not evaluation.hardest:
        return []
    rows = tuple(
        (item.shown, item.true, item.predicted, percent(item.confidence), percent(item.true_confidence))
        for item in evaluation.hardest
    )
    named = (doc.Column("image"), doc.Column("true", width=24), doc.Column("predicted", width=24))
    figures = (doc.Column("confidence", right=True), doc.Column("of the true class", right=True, full=True))
    return [doc.Picture(HARDEST, "The surest mistakes"), doc.Table((*named, *figures), rows, brief=5)]
