"""A check as a document: the figures side by side, the gates, what broke and where."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.core.outcome import Outcome
from edgecnn.core.units import NOTHING, count, percent, short, size
from edgecnn.report import document as doc
from edgecnn.report import markdown
from edgecnn.report.check.model import CheckedModel, RegressionCheck

BROKEN = "broken.png"
MARKS: dict[Outcome, tuple[str, doc.Tone]] = {
    "PASS": ("✓", "good"),
    "FAIL": ("✗", "bad"),
    "INCONCLUSIVE": ("?", "warning"),
}


def document(check: RegressionCheck) -> doc.Document:
    """The whole check."""
    blocks: tuple[doc.Element | None, ...] = (
        doc.Pairs(tuple(_head(check))),
        doc.section("figures", _figures(check), bare=True),
        doc.section("gates", doc.Bullets(() if check.alone else tuple(_gates(check)))),
        doc.section("classes", *_classes(check)),
        doc.section(_title_of_images(check), *_images(check)),
        doc.section("notes", doc.bullets(check.notes, tone="warning")),
        doc.section("written", doc.bullets(check.wrote)),
        doc.section("provenance", doc.Pairs(tuple(_provenance(check)), code=True), full=True),
    )
    return doc.Document(title(check), doc.present(*blocks), None if check.alone else (check.outcome, check.why))


def to_markdown(check: RegressionCheck) -> str:
    """The whole of it as Markdown."""
    return markdown.render(document(check))


def files(check: RegressionCheck) -> tuple[str, ...]:
    """The names of the files a check is written to."""
    pictures = (BROKEN,) if any(item.path for item in check.changed) else ()
    return ("check.md", "check.html", "check.json", *pictures)


def title(check: RegressionCheck) -> str:
    if check.alone:
        return f"{short(check.baseline.name)}, recorded"
    return f"{short(check.candidate.name)} against {short(check.baseline.name)}"


def _head(check: RegressionCheck) -> Iterator[tuple[str, str]]:
    for name, model in (("baseline", check.baseline), ("candidate", check.candidate)):
        yield name, f"{model.name}, {_what(model)} in {model.runtime}"
    judged = count(check.judged, "image")
    if check.looks > 1 or check.judged < check.available:
        judged += f" of {check.available:,}, decided at look {check.looks}"
    if check.alone:
        yield "data", f"{check.data.get('source', '')}, {judged}"
        return
    yield "data", f"{check.data.get('source', '')}, judged on {judged}"
    yield "budget", f"at most {check.max_drop} of {check.metric.title or check.metric.name} may be lost"


def _what(model: CheckedModel) -> str:
    known = model.architecture not in ("", "unknown")
    return f"{model.architecture}, {model.format}" if known else model.format


def _figures(check: RegressionCheck) -> doc.Table:
    rows: list[tuple[doc.Cell | str, ...]] = [
        (name, before, after, doc.Cell(change, bounds, tone="strong"))
        for name, before, after, change, bounds in check.differences.figures
    ]
    judgement = check.judgement
    if judgement.flips is not None:
        said = f"{count(judgement.flips.broke, 'image')} broke, {judgement.flips.fixed:,} fixed"
        rows.append(("answers that changed sides", NOTHING, NOTHING, said))
    if judgement.agreement is not None:
        rows.append(("agreement", NOTHING, percent(judgement.agreement), ""))
    if check.outputs is not None:
        ratio = "equal" if check.outputs.sqnr_db is None else f"{check.outputs.sqnr_db:.1f} dB"
        rows.append(("outputs, signal to noise", NOTHING, ratio, f"cosine {check.outputs.cosine:.6f}"))
    if check.latency is not None:
        low, high = check.latency.low, check.latency.high
        times = f"{check.latency.baseline_ms:.3f} ms", f"{check.latency.candidate_ms:.3f} ms"
        rows.append(("latency", *times, doc.Cell(f"x {check.latency.ratio:.3f}", f"{low:.3f} … {high:.3f}")))
    sizes = check.baseline.size_bytes, check.candidate.size_bytes
    if all(sizes):
        rows.append(("file", size(sizes[0]), size(sizes[1]), f"x {sizes[1] / sizes[0]:.2f}"))
    note = f"Beside a change: its lower and upper bound, each with {100 * judgement.confidence:.4g} % confidence."
    bounded = any(bounds for *_, bounds in check.differences.figures)
    titles = doc.columns("baseline", "candidate", "change", left=())
    return doc.Table((doc.Column("figure", width=26), *titles), tuple(rows), notes=(note,) if bounded else ())


def _gates(check: RegressionCheck) -> Iterator[doc.Item]:
    for gate in check.gates:
        yield doc.Item(f"{MARKS[gate.outcome][0]} {gate.outcome}: {gate.why}", gate.name)
    if check.departing:
        yield doc.Item(check.departing, "the first layer that departs from the checkpoint")


def _classes(check: RegressionCheck) -> Iterator[doc.Element]:
    changed = [group for group in check.differences.groups if group.alarm or group.broke or group.fixed]
    if not changed:
        return
    rows = tuple(
        (
            doc.Cell(group.name, tone="bad" if group.alarm else ""),
            f"{group.images:,}",
            f"{group.broke:,}",
            f"{group.fixed:,}",
            f"{100 * group.drop:+.1f}",
            doc.Cell("<0.001" if group.chance < 0.001 else f"{group.chance:.3f}", tone="bad" if group.alarm else "dim"),
        )
        for group in changed
    )
    titles = doc.columns("class", "images", "broke", "fixed", "drop, points", "chance")
    yield doc.Table((doc.Column("class", width=40), *titles[1:]), rows, brief=8)
    yield doc.Paragraph(
        "Chance: how probable so many broken images are, at most, in a class that loses no more than is allowed; "
        "adjusted for the number of classes (Benjamini and Hochberg). Below 0.05 it is an alarm.",
        "dim",
    )


def _title_of_images(check: RegressionCheck) -> str:
    return "images that broke, surest first" if check.judgement.flips is not None else "images answered otherwise"


def _images(check: RegressionCheck) -> Iterator[doc.Element]:
    if not check.changed:
        return
    if any(item.path for item in check.changed):
        yield doc.Picture(BROKEN, "Images that only the candidate answers wrongly")
    rows = tuple(
        (item.shown, item.answer.expected, item.answer.answer, percent(item.answer.confidence))
        for item in check.changed
    )
    expected = "is" if check.judgement.flips is not None else "baseline says"
    named = (doc.Column("image"), doc.Column(expected, width=24), doc.Column("candidate says", width=24))
    yield doc.Table((*named, doc.Column("confidence", right=True)), rows, brief=5)


def _provenance(check: RegressionCheck) -> Iterator[tuple[str, str]]:
    for name, model in (("baseline", check.baseline), ("candidate", check.candidate)):
        yield f"{name} sha256", model.sha256
    yield "data digest", str(check.data.get("digest", ""))
    yield "created", f"{check.created} by edgecnn {check.version}"
