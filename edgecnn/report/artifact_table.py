"""The table of a run's artifacts: size, accuracy, latency and verdict of each, its legend and its notes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgecnn.core.units import NOTHING, between, milliseconds, percent, points, size
from edgecnn.report import document as doc
from edgecnn.report.model import Report, Row, Speed
from edgecnn.tasks.task import Metric

TONES: dict[str, doc.Tone] = {
    "PASS": "good",
    "FAIL": "bad",
    "INCONCLUSIVE": "warning",
    "failed": "bad",
    "skipped": "dim",
    "baseline": "dim",
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def artifacts(rows: tuple[Row, ...], metric: Metric) -> doc.Table:
    titles = (
        doc.Column("artifact"),
        doc.Column("size", right=True),
        doc.Column(_value_title(metric), right=True),
        doc.Column(drop_title(metric), right=True),
        doc.Column("agree %", right=True, optional=1),
        doc.Column("median ms", right=True),
        doc.Column("p90 ms", right=True, optional=1),
        doc.Column("speedup", right=True),
        doc.Column("verdict"),
    )
    formats = [row.format for row in rows]
    breaks = frozenset(place for place, format in enumerate(formats[:-1]) if format not in formats[place + 1 :])
    return doc.Table(titles, tuple(_result_cells(row, metric) for row in rows), breaks)


def _value_title(metric: Metric) -> str:
    return f"{metric.name} %" if metric.share else f"{metric.name}, {metric.unit}" if metric.unit else metric.name


def drop_title(metric: Metric) -> str:
    """The title of a column of drops, with their unit."""
    unit = "points" if metric.share else metric.unit
    return f"drop, {unit}" if unit else "drop"


def loss(drop: float | None, metric: Metric) -> str:
    """A drop, without its unit: a share in points."""
    if drop is None or metric.share:
        return points(drop)
    return f"{drop:.4g}".replace("-", "−")


def _value(value: float | None, metric: Metric) -> str:
    if value is None or metric.share:
        return percent(value, sign=False)
    return f"{value:.4g}"


def _result_cells(row: Row, metric: Metric) -> tuple[doc.Cell | str, ...]:
    accuracy, verdict = row.accuracy, _verdict(row)
    return (
        row.name,
        size(row.size_bytes),
        _value(accuracy.value if accuracy else None, metric),
        _drop(row, metric),
        percent(accuracy.agreement if accuracy else None, sign=False),
        median(row),
        p90(row),
        _speedup(row),
        doc.Cell(verdict, tone=TONES.get(verdict, "")),
    )


def _drop(row: Row, metric: Metric) -> doc.Cell:
    """The loss against the checkpoint, and its bounds."""
    accuracy = row.accuracy
    if accuracy is None or accuracy.drop is None:
        return doc.Cell(NOTHING)
    low, high = loss(accuracy.drop_low, metric), loss(accuracy.drop_high, metric)
    return doc.Cell(loss(accuracy.drop, metric), between(low, high))


def _timed(row: Row) -> Speed | None:
    """The speed, unless the board was emulated: then its times say nothing about the board."""
    return None if row.speed is None or row.speed.emulated else row.speed


def median(row: Row) -> doc.Cell:
    speed = _timed(row)
    if speed is None:
        return doc.Cell("emulated" if row.speed else NOTHING)
    low, high = milliseconds(speed.median_low_ms), milliseconds(speed.median_high_ms)
    return doc.Cell(milliseconds(speed.median_ms), between(low, high))


def p90(row: Row) -> str:
    speed = _timed(row)
    return milliseconds(speed.p90_ms) if speed else "emulated" if row.speed else NOTHING


def _speedup(row: Row) -> doc.Cell:
    """How many times faster than FP32 in the same runtime."""
    speed = _timed(row)
    if speed is None or speed.speedup is None:
        return doc.Cell(NOTHING)
    low, high = (NOTHING if bound is None else f"{bound:.2f}" for bound in (speed.speedup_low, speed.speedup_high))
    return doc.Cell(f"{speed.speedup:.2f}x", between(low, high))


def _verdict(row: Row) -> str:
    """PASS, FAIL, INCONCLUSIVE; `baseline` for what the others are compared with; `failed` or `skipped`."""
    if row.status != "ok":
        return row.status
    return row.outcome or ("baseline" if row.is_baseline else NOTHING)


def legend(report: Report) -> str:
    """What the intervals of the table are; only those that are there."""
    parts = []
    if any(row.accuracy and row.accuracy.drop_low is not None for row in report.rows):
        parts.append(f"drop: against the checkpoint in PyTorch, each bound at {100 * report.confidence:g} %")
    speeds = [speed for row in report.rows if (speed := _timed(row)) is not None]
    if any(speed.interval == "ci95" for speed in speeds):
        parts.append("median: 95 % interval over processes")
    elif speeds and max(speed.processes for speed in speeds) > 1:
        parts.append("median: smallest and largest of the processes")
    if any(speed.speedup_interval == "ci95" for speed in speeds):
        parts.append("speedup: FP32 / this, 95 % interval over blocks")
    elif any(speed.speedup is not None for speed in speeds):
        parts.append("speedup: FP32 / this, too few blocks for an interval")
    return "; ".join(parts)


def notes(report: Report) -> list[tuple[str, str]]:
    """(artifacts, note) for the whole report: notes that differ in their numbers only are said once, in the words of
    the artifact with the largest."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for row in report.rows:
        for text in dict.fromkeys([*_notes_of(row), *_judged_on(row, report)]):
            groups.setdefault(_NUMBER.sub("#", text), []).append((row.name, text))
    notes = []
    for group in groups.values():
        names = list(dict.fromkeys(name for name, _ in group))
        text = max((text for _, text in group), key=lambda words: [float(number) for number in _NUMBER.findall(words)])
        notes.append((names[0] if len(names) == 1 else f"{len(names)} artifacts", text))
    return notes


def _notes_of(row: Row) -> Iterator[str]:
    """What a reader must know before trusting a row's figures."""
    if row.status != "ok":
        yield f"{row.status}: {row.reason or 'no reason given'}"
    if row.outcome in ("FAIL", "INCONCLUSIVE") and row.outcome_why:
        yield row.outcome_why
    if row.accuracy is not None and row.accuracy.stand_in:
        yield f"accuracy taken in {row.accuracy.runtime}: {row.accuracy.stand_in}"
    if row.speed is not None:
        yield from row.speed.reasons


def _judged_on(row: Row, report: Report) -> Iterator[str]:
    """Where the other images had a part in choosing the file: on how many it is judged, and what the checkpoint has."""
    images = max((other.accuracy.images for other in report.rows if other.accuracy), default=0)
    if row.accuracy is None or row.accuracy.images == images:
        return
    text = f"judged on the {row.accuracy.images:,} of {images:,} images that had no part in choosing it"
    if row.accuracy.top1 is not None and row.accuracy.drop is not None:  # whether more is better is not known otherwise
        text += f", where the checkpoint has {row.accuracy.top1 + row.accuracy.drop:.2%}"
    yield text
