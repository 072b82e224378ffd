"""A benchmark as a document: a table for each device, what follows from it, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from edgecnn.core.units import NOTHING, count
from edgecnn.measure.fleet import DeviceResult
from edgecnn.measure.latency import Latency
from edgecnn.report import document as doc
from edgecnn.report.benchmark import Line, lines

TONES: dict[str, doc.Tone] = {"valid": "good", "degraded": "warning", "unknown": "warning", "invalid": "bad"}
LEAST_NEEDED_FIRST = ("first", "load", "p99 ≤", "memory", "size", "p90", "p90 ≤", "95 % interval", "range")
GRAVEST_FIRST = ("invalid", "degraded", "unknown", "note")


def document(taken: Sequence[DeviceResult], sizes: Mapping[str, int]) -> doc.Document:
    """One section per device that measured something; failures are the command's to show.

    `sizes` are the bytes of each file by its sha256.
    """
    devices = [(one, rows) for one in taken if (rows := lines(one, sizes))]
    models = dict.fromkeys(row.name for _, rows in devices for row in rows)
    return doc.Document(f"benchmark of {', '.join(models)}", tuple(_device(one, rows) for one, rows in devices))


def _device(one: DeviceResult, rows: Sequence[Line]) -> doc.Section:
    title = f"{one.profile.name}: {_where(one, rows[0].latency)}"
    return doc.section(title, _table(rows), doc.bullets([*_conclusions(rows), *_remarks(rows)]))


def _where(one: DeviceResult, latency: Latency) -> str:
    facts = one.facts
    machine = facts.get("board") or facts.get("cpu") or facts.get("machine") or "unknown machine"
    emulated = " (emulated)" if facts.get("emulated") else ""
    units = "memory and size in MB" if facts.get("emulated") else "times in ms, memory and size in MB"
    threads, processes = count(latency.threads, "thread"), count(len(latency.processes), "process")
    return f"{machine}{emulated}, {threads}, profile {latency.profile}, {processes} each; {units}"


def _table(rows: Sequence[Line]) -> doc.Table:
    optional = {title: len(LEAST_NEEDED_FIRST) - place for place, title in enumerate(LEAST_NEEDED_FIRST)}
    shown = list(_columns(rows))
    titles = (
        doc.Column("model"),
        *(doc.Column(title, right=True, optional=optional.get(title, 0)) for title, _ in shown),
        doc.Column("grade"),
    )
    cells: tuple[tuple[doc.Cell | str, ...], ...] = tuple(
        (row.name, *(cell(row) for _, cell in shown), doc.Cell(row.latency.grade, tone=TONES[row.latency.grade]))
        for row in rows
    )
    return doc.Table(titles, cells)


def _columns(rows: Sequence[Line]) -> Iterator[tuple[str, Callable[[Line], str]]]:
    """Title and cell of each column; those that nobody asked for, or that could not be read, are left out."""
    if not rows[0].emulated:
        yield "median", lambda row: _ms(row.latency.times.median_ns)
        interval = "95 % interval" if rows[0].latency.times.interval == "ci95" else "range"
        yield interval, lambda row: f"{_ms(row.latency.times.median_low_ns)}-{_ms(row.latency.times.median_high_ns)}"
        yield "p90", lambda row: _ms(row.latency.times.p90_ns)
        yield "p90 ≤", lambda row: _bound(row.latency.times.p90_bound_ns)
        if any(row.latency.times.p99_bound_ns is not None for row in rows):
            yield "p99 ≤", lambda row: _bound(row.latency.times.p99_bound_ns)
        if any(row.latency.times.e2e_median_ns is not None for row in rows):
            yield "end to end", lambda row: _ms(row.latency.times.e2e_median_ns)
        if any(row.latency.batch > 1 for row in rows):
            yield "images/s", lambda row: f"{row.latency.times.throughput_per_s:.4g}"
        yield "load", lambda row: _ms(row.latency.times.load_ns)
        yield "first", lambda row: _ms(row.latency.times.first_ns)
        if any(row.latency.energy.energy_mj is not None for row in rows):
            yield "mJ each", _energy
    yield "memory", lambda row: _mb(row.latency.memory.peak_rss_delta_bytes)
    yield "size", lambda row: f"{row.size_bytes / 1e6:.2f}" if row.size_bytes >= 5000 else "< 0.01"
    if not rows[0].emulated:
        yield "speed", lambda row: f"{row.ratio.speedup:.2f}x" if row.ratio else NOTHING
    else:
        yield "samples", lambda row: str(row.latency.samples)


def _energy(row: Line) -> str:
    if row.latency.energy.energy_mj is None:
        return NOTHING
    return f"{'~' if row.latency.energy.power_source == 'estimated' else ''}{row.latency.energy.energy_mj:.3g}"


def _bound(time_ns: float | None) -> str:
    return "too few" if time_ns is None else _ms(time_ns)


def _mb(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / 1e6:.1f}"


def _ms(time_ns: float | None) -> str:
    """Three significant digits, in milliseconds."""
    if time_ns is None:
        return NOTHING
    time_ms = time_ns / 1e6
    return f"{time_ms:.1f}" if time_ms >= 100 else f"{time_ms:.2f}" if time_ms >= 10 else f"{time_ms:.3f}"


def _conclusions(rows: Sequence[Line]) -> list[str]:
    return [
        f"{row.name} against {row.against}: {ratio.conclusion}, {ratio.speedup:.2f}x the speed "
        f"({'95 % interval' if ratio.interval == 'ci95' else 'range'} {ratio.low:.2f} to {ratio.high:.2f})"
        for row in rows
        if (ratio := row.ratio) is not None
    ]


def _remarks(rows: Sequence[Line]) -> list[str]:
    """One line for each finding, the gravest first, with the models it is about."""
    about: dict[str, list[str]] = {}
    for effect in GRAVEST_FIRST:
        for row in rows:
            for reason in row.latency.reasons:
                if reason.effect == effect:
                    about.setdefault(f"{effect}: {reason.message}", []).append(row.name)
    return [text if len(names) == len(rows) else f"{text} [{', '.join(names)}]" for text, names in about.items()]
