"""The report as Markdown: everything, for a release page or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecnn.report import wording
from edgecnn.report.facts import StageFacts
from edgecnn.report.model import Report, Row, Speed


def render(report: Report) -> str:
    """The whole report, one section per question a reader has; it ends in a newline."""
    sections = (
        _head(report),
        _section("Result", _result(report.rows), _text(wording.legend(report)), _notes(report)),
        _section("Conclusions", _bullets(report.conclusions)),
        _section("The ladder", _climbs(report)),
        _section("Warnings", _bullets(wording.warnings(report))),
        _section("Accuracy", _accuracy(report.rows)),
        _section("Parity with PyTorch", _parity(report.rows)),
        _section("Speed", _speed(report)),
        _section("What the runtimes made of it", _fusion(report.rows)),
        _section("Files", _files(report.rows)),
        _section("Stages", _stages(report.stages)),
        _section("Provenance", _provenance(report)),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: Report) -> str:
    facts = [
        ("model", wording.model(report)),
        ("target", wording.target(report)),
        ("data", wording.data(report)),
        ("budget", wording.allowed(report)),
        ("recipe", wording.recipe(report)),
        ("measured", wording.joined([f"on {report.measured_on}", f"profile {report.profile}"])),
    ]
    lines = [f"# {_text(report.title)}", "", f"**{report.outcome}**: {_text(report.outcome_why)}", ""]
    lines += [f"- {name}: {_text(value)}" for name, value in facts]
    if report.elsewhere:
        lines += ["", f"> {_text(report.elsewhere)}"]
    return "\n".join(lines)


def _result(rows: Sequence[Row]) -> str:
    titles = ("artifact", "size", "top-1 %", "drop, points", "agreement %", "median ms", "p90 ms", "speedup", "verdict")
    return _table(titles, [_result_cells(row) for row in rows], left=(0, 8))


def _result_cells(row: Row) -> list[str]:
    accuracy = row.accuracy
    return [
        row.name,
        wording.size(row.size_bytes),
        wording.percent(accuracy.top1 if accuracy else None),
        _with_interval(*wording.drop(row)),
        wording.percent(accuracy.agreement if accuracy else None),
        _with_interval(*wording.median(row)),
        wording.p90(row),
        _with_interval(*wording.speedup(row)),
        wording.verdict(row),
    ]


def _notes(report: Report) -> str:
    return _bullets(f"{name}: {text}" for name, text in wording.grouped_notes(report))


def _climbs(report: Report) -> str:
    """A table for each format that was climbed."""
    titles = ("attempt", "drop, points", "agreement %", "size", "budget", "s")
    parts = []
    for climb in filter(wording.worth_showing, report.searches):
        cells = [[*wording.climb_cells(tried, climb), f"{tried.seconds:.0f}"] for tried in climb.attempts]
        parts += [_text(wording.climb_title(climb)), _table(titles, cells, left=(0, 4)), _text(climb.why)]
    return "\n\n".join(part for part in parts if part)


def _accuracy(rows: Sequence[Row]) -> str:
    titles = ("artifact", "runtime", "images", "correct", "broke", "fixed", "why")
    cells = [
        [row.name, found.runtime, found.images, _or(found.correct), _or(found.broke), _or(found.fixed), row.outcome_why]
        for row in rows
        if (found := row.accuracy) is not None
    ]
    if not cells:
        return ""
    meaning = "`broke` counts images that the FP32 file gets right and this one wrong, `fixed` the reverse."
    return f"{_table(titles, cells, left=(0, 1, 6))}\n\n{meaning}"


def _parity(rows: Sequence[Row]) -> str:
    titles = ("artifact", "images", "largest difference", "cosine", "SQNR dB", "agreement %")
    cells = [
        [
            row.name,
            found.images,
            f"{found.max_abs_diff:.3g}",
            f"{found.cosine:.6f}",
            "equal" if found.sqnr_db is None else f"{found.sqnr_db:.1f}",
            wording.percent(found.agreement),
        ]
        for row in rows
        if (found := row.parity) is not None
    ]
    return _table(titles, cells, left=(0,)) if cells else ""


def _speed(report: Report) -> str:
    titles = (
        *("artifact", "backend", "threads", "median ms", "p90 ms (99 % bound)", "load ms", "first ms", "peak memory"),
        *("processes", "samples", "conclusion", "grade", "energy per inference"),
    )
    cells = [
        [
            row.name,
            row.backend,
            found.threads,
            _with_interval(*wording.median(row)),
            wording.p90(row) if found.emulated else f"{wording.p90(row)} ({_bound(found.p90_bound_ms)})",
            wording.NOTHING if found.emulated else wording.milliseconds(found.load_ms),
            wording.NOTHING if found.emulated else wording.milliseconds(found.first_ms),
            wording.size(found.peak_rss_bytes),
            found.processes,
            found.samples,
            found.conclusion,
            found.grade,
            _energy(found),
        ]
        for row in report.rows
        if (found := row.speed) is not None
    ]
    if not cells:
        return ""
    meaning = {
        "ci95": "95 % confidence intervals from a bootstrap over processes",
        "range": "the range over processes (too few for a confidence interval)",
    }
    kinds = sorted({row.speed.interval for row in report.rows if row.speed})
    intervals = "; ".join(meaning.get(kind, kind) for kind in kinds)
    return f"{_table(titles, cells, left=(0, 1, 10, 11))}\n\nIntervals are {intervals}."


def _energy(speed: Speed) -> str:
    if speed.energy_mj is None or speed.emulated:
        return wording.NOTHING
    return f"{speed.energy_mj:.3g} mJ ({speed.power_source})"


def _bound(value: float | None) -> str:
    return "n too small" if value is None else f"≤ {wording.milliseconds(value)}"


def _fusion(rows: Sequence[Row]) -> str:
    parts: list[str] = []
    for row in rows:
        found = row.fusion
        if not found:
            continue
        counts = found.counts
        operators = ", ".join(
            f"{count} {op}" for op, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        )
        said = wording.fusion(row) or f"read by {found.runtime}"
        lines = [f"- **{row.name}**: {_text(said)}{f' ({_text(operators)})' if operators else ''}"]
        lines += [f"  - float: {_text(layer)}" for layer in wording.float_layers(row)]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _files(rows: Sequence[Row]) -> str:
    cells = [[row.name, _code(row.file), _or(row.size_bytes), _code(row.sha256)] for row in rows if row.file]
    return _table(("artifact", "file", "bytes", "sha256"), cells, left=(0, 1, 3)) if cells else ""


def _stages(stages: Sequence[StageFacts]) -> str:
    cells = [
        [
            stage.stage,
            stage.makes or wording.NOTHING,
            wording.seconds(stage.seconds),
            "yes" if stage.cached else "no",
        ]
        for stage in stages
    ]
    return _table(("stage", "makes", "time", "cached"), cells, left=(0, 1, 3)) if cells else ""


def _provenance(report: Report) -> str:
    """Every fact of the inputs, flattened to `model.sha256: …`, so that a run can be repeated."""
    raw = report.to_dict()
    lines = [f"- edgecnn {report.version}, {report.created}, report schema `{report.schema}`"]
    for name in ("model", "data", "recipe", "target", "host"):
        lines += [f"- {key}: {_code(value)}" for key, value in _flat(name, raw[name])]
    return "\n".join(lines)


def _flat(name: str, value: Any) -> Iterable[tuple[str, str]]:
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


def _section(title: str, *parts: str) -> str:
    body = "\n\n".join(part for part in parts if part)
    return f"## {title}\n\n{body}" if body else ""


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, left: Sequence[int]) -> str:
    rule = ["---" if index in left else "---:" for index in range(len(titles))]
    lines = [titles, rule, *([_text(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _with_interval(value: str, interval: str) -> str:
    return f"{value} [{interval}]" if interval else value


def _or(value: object) -> str:
    return wording.NOTHING if value is None else str(value)


def _text(text: str) -> str:
    """One line that no Markdown reader takes for a table, a tag or a heading."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`" if text else ""
