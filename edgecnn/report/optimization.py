"""The report of `edgecnn optimize` as a document: the table of artifacts, what follows from it, and every fact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgecnn.core.units import NOTHING, duration, milliseconds, percent, size
from edgecnn.formats.registry import formats
from edgecnn.report import document as doc
from edgecnn.report.artifact_table import artifacts, drop_title, legend, loss, median, notes, p90
from edgecnn.report.model import Report, Row, Speed
from edgecnn.report.search import Search, TrialRow
from edgecnn.tasks.task import Metric

INTERVALS = {
    "ci95": "95 % confidence intervals from a bootstrap over processes",
    "range": "the range over processes (too few for a confidence interval)",
}


def document(report: Report) -> doc.Document:
    """The whole report."""
    blocks: tuple[doc.Element | None, ...] = (
        doc.Pairs(_head(report)),
        *doc.warnings([report.elsewhere] if report.elsewhere else []),
        doc.section(
            "result",
            artifacts(report.rows, report.metric),
            doc.Paragraph(legend(report), "dim"),
            doc.bullets(notes(report)),
            bare=True,
        ),
        doc.section("conclusions", doc.bullets(report.conclusions), last=True),
        doc.section("the search", *_searches(report.searches, report.metric)),
        doc.section("warnings", doc.bullets(_warnings(report), tone="warning")),
        doc.section("accuracy", *_accuracy(report.rows), full=True),
        doc.section("parity with PyTorch", _parity(report.rows), full=True),
        doc.section("speed", *_speed(report.rows), full=True),
        doc.section("what the runtimes made of it", doc.Bullets(tuple(_fusion(report.rows)))),
        doc.section("files", _files(report.rows), full=True),
        doc.section("stages", _stages(report), full=True),
        doc.section("provenance", doc.Pairs(tuple(_provenance(report)), code=True), full=True),
    )
    return doc.Document(report.title, doc.present(*blocks), (report.outcome, report.outcome_why))


def _head(report: Report) -> tuple[tuple[str, str], ...]:
    return (
        ("model", _model(report)),
        ("target", str(report.target.get("title") or report.target.get("name") or "unknown")),
        ("data", _data(report)),
        ("budget", _budget(report)),
        ("recipe", _recipe(report)),
        ("measured", f"on {report.measured_on}, profile {report.profile}"),
    )


def _model(report: Report) -> str:
    facts = report.model
    parts = [facts.name]
    if facts.parameters:
        parts.append(f"{facts.parameters / 1e6:.2f} M parameters")
    if facts.input_shape:
        parts.append("input " + "x".join(str(side) for side in facts.input_shape))
    if facts.num_classes:
        parts.append(f"{facts.num_classes} classes")
    return ", ".join(parts)


def _data(report: Report) -> str:
    calibration, evaluation = report.data.count("calibration"), report.data.count("evaluation")
    if report.data.form == "synthetic":
        return f"none given: calibrated on {calibration} images made from batch-norm statistics, none to judge on"
    if not calibration and not evaluation:
        return "none"
    parts = [f"calibrated on {calibration} images"] if calibration else []
    judged = f"judged on {evaluation} {'others' if calibration else 'images'}" if evaluation else "none to judge on"
    return ", ".join([*parts, judged])


def _budget(report: Report) -> str:
    metric = report.metric
    name, drop = metric.title or metric.name, f"{report.max_drop * (100 if metric.share else 1):g}"
    text = f"at most {drop} point{'' if drop == '1' else 's'} of {name} may be lost"
    if not metric.share:
        text = f"{name} may be worse by at most {f'{drop} {metric.unit}'.strip()}"
    latency, largest = report.budget.max_latency, report.budget.max_size
    text += f", at most {latency:g} ms for one image" if latency is not None else ""
    return text + (f", at most {size(largest)}" if largest is not None else "")


def _recipe(report: Report) -> str:
    stages = " → ".join(str(next(iter(stage), "")) for stage in report.recipe.stages)
    return f"{report.recipe.name}: {stages}" if stages else report.recipe.name


def _warnings(report: Report) -> list[str]:
    """Every warning once: those of the run, then those of each row with its name."""
    of_rows = (f"{row.name}: {text}" for row in report.rows for text in row.warnings if text not in report.warnings)
    return list(dict.fromkeys([*report.warnings, *of_rows]))


def _searches(searches: Iterable[Search], metric: Metric) -> Iterator[doc.Element]:
    """A table for each format that was searched, or why it was not."""
    for search in searches:
        many = len(search.attempts) > 1
        if not many and not search.why:
            continue
        on = f": searched on {search.searching:,} images, certified on {search.certifying:,} others"
        yield doc.Paragraph(f"{search.format}{on if many else ''}")
        titles = doc.columns("attempt", drop_title(metric), "agree %", "size", "budget", "s", left=(0, 4))
        titles = (*titles[:-1], doc.Column("s", right=True, full=True))
        yield doc.Table(
            titles,
            tuple(_trial(trial, metric, chosen=trial.label == search.chosen, many=many) for trial in search.attempts),
        )
        yield doc.Paragraph(search.why)


def _trial(trial: TrialRow, metric: Metric, *, chosen: bool, many: bool) -> tuple[doc.Cell | str, ...]:
    """Attempt, drop with its bounds, agreement, size, what became of it, seconds."""
    shown = NOTHING
    if trial.drop is not None and trial.drop_low is not None and trial.drop_high is not None:
        value, low, high = (loss(drop, metric) for drop in (trial.drop, trial.drop_low, trial.drop_high))
        shown = f"{value} [{low}, {high}]"
    state = f"{trial.state}: {trial.why}" if trial.why else trial.state
    texts = (
        trial.label + (" (delivered)" if chosen and many else ""),
        *(shown, percent(trial.agreement, sign=False), size(trial.size_bytes), state, f"{trial.seconds:.0f}"),
    )
    return tuple(doc.Cell(text, tone="strong" if chosen else "") for text in texts)


def _accuracy(rows: Iterable[Row]) -> tuple[doc.Table, doc.Paragraph | None]:
    cells = tuple(
        (
            *(row.name, accuracy.runtime, str(accuracy.images)),
            *(_or_nothing(figure) for figure in (accuracy.correct, accuracy.broke, accuracy.fixed)),
            row.outcome_why,
        )
        for row in rows
        if (accuracy := row.accuracy) is not None
    )
    titles = doc.columns("artifact", "runtime", "images", "correct", "broke", "fixed", "why", left=(0, 1, 6))
    meaning = "broke: images that the checkpoint gets right in PyTorch and this file wrong; fixed: the reverse."
    return doc.Table(titles, cells), doc.Paragraph(meaning) if cells else None


def _parity(rows: Iterable[Row]) -> doc.Table:
    cells = tuple(
        (
            *(row.name, str(parity.images), f"{parity.max_abs_diff:.3g}", f"{parity.cosine:.6f}"),
            "equal" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f}",
            percent(parity.agreement, sign=False),
        )
        for row in rows
        if (parity := row.parity) is not None
    )
    return doc.Table(doc.columns("artifact", "images", "largest difference", "cosine", "SQNR dB", "agree %"), cells)


def _speed(rows: Iterable[Row]) -> tuple[doc.Table, doc.Paragraph | None]:
    measured = [(row, row.speed) for row in rows if row.speed is not None]
    titles = doc.columns(
        *("artifact", "backend", "threads", "median ms", "p90 ms (99 % bound)", "load ms", "first ms", "peak memory"),
        *("processes", "samples", "conclusion", "grade", "energy per inference"),
        left=(0, 1, 10, 11),
    )
    kinds = sorted({speed.interval for _, speed in measured})
    meaning = f"Intervals are {'; '.join(INTERVALS.get(kind, kind) for kind in kinds)}."
    cells = tuple(_speed_cells(row, speed) for row, speed in measured)
    return doc.Table(titles, cells), doc.Paragraph(meaning) if cells else None


def _speed_cells(row: Row, speed: Speed) -> tuple[doc.Cell | str, ...]:
    bound = "n too small" if speed.p90_bound_ms is None else f"≤ {milliseconds(speed.p90_bound_ms)}"
    unknown_energy = speed.energy_mj is None or speed.emulated
    return (
        *(row.name, row.backend, str(speed.threads), median(row)),
        p90(row) if speed.emulated else f"{p90(row)} ({bound})",
        NOTHING if speed.emulated else milliseconds(speed.load_ms),
        NOTHING if speed.emulated else milliseconds(speed.first_ms),
        size(speed.peak_rss_bytes),
        *(str(speed.processes), str(speed.samples), speed.conclusion, speed.grade),
        NOTHING if unknown_energy else f"{speed.energy_mj:.3g} mJ ({speed.power_source})",
    )


def _fusion(rows: Iterable[Row]) -> Iterator[doc.Item]:
    for row in rows:
        if row.fusion is None:
            continue
        counts = sorted(row.fusion.counts.items(), key=lambda item: (-item[1], item[0]))
        text = _fusion_words(row)
        yield doc.Item(
            text or f"read by {row.fusion.runtime}",
            row.name,
            detail=", ".join(f"{number} {op}" for op, number in counts),
            children=tuple(f"float: {layer.name} ({layer.op}): {layer.why}" for layer in row.fusion.float_layers),
            full=not text,
        )


def _fusion_words(row: Row) -> str:
    """What the runtime made of the file, in one line; empty where there is nothing to say."""
    fusion = row.fusion
    if fusion is None:
        return ""
    if fusion.status == "skipped":
        return f"not checked in {fusion.runtime}: {fusion.note or 'no reason given'}"
    if row.precision != "int8":
        return ""
    integer, floating = fusion.integer, fusion.floating
    if any(item.family == fusion.runtime and item.lint_counts_pairs for item in formats()):
        share = "all" if not floating else f"{integer} of"
        return f"{share} {integer + floating} layers with weights have Q/DQ on input and weight; {fusion.note}"
    if not floating:
        return f"all {integer} layers run in INT8 in {fusion.runtime}" if integer else f"{fusion.runtime} accepts it"
    layers = "layer stays" if floating == 1 else "layers stay"
    return f"{floating} of {integer + floating} {layers} float in {fusion.runtime}"


def _files(rows: Iterable[Row]) -> doc.Table:
    cells = tuple(
        (row.name, doc.Cell(row.file, code=True), _or_nothing(row.size_bytes), doc.Cell(row.sha256, code=True))
        for row in rows
        if row.file
    )
    return doc.Table(doc.columns("artifact", "file", "bytes", "sha256", left=(0, 1, 3)), cells)


def _stages(report: Report) -> doc.Table:
    cells = tuple(
        (stage.stage, stage.makes or NOTHING, duration(stage.seconds), "yes" if stage.cached else "no")
        for stage in report.stages
    )
    return doc.Table(doc.columns("stage", "makes", "time", "cached", left=(0, 1, 3)), cells)


def _provenance(report: Report) -> Iterator[tuple[str, str]]:
    """Every fact of the inputs, flattened to `model.sha256: …`, so that a run can be repeated."""
    yield from (("edgecnn", report.version), ("created", report.created), ("report schema", report.schema))
    raw = report.to_dict()
    for name in ("model", "data", "recipe", "target", "host"):
        yield from _flat(name, raw[name])


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{index}]", item)
    elif isinstance(value, list | tuple):
        if value:
            yield name, ", ".join(str(item) for item in value)
    elif value is not None and value != "":
        yield name, str(value)


def _or_nothing(value: int | None) -> str:
    return NOTHING if value is None else str(value)
