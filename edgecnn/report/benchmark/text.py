"""A benchmark for a terminal: a table for each device, what follows from it, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgecnn.measure.fleet import DeviceResult
from edgecnn.measure.latency import Latency
from edgecnn.report.benchmark import Line, lines

STYLES = {"valid": "green", "degraded": "yellow", "unknown": "yellow", "invalid": "red"}
NOTHING = "–"
LEAST_NEEDED_FIRST = ("first", "load", "p99 ≤", "memory", "size", "p90", "p90 ≤", "95 % interval", "range")
GRAVEST_FIRST = ("invalid", "degraded", "unknown", "note")

Cell = Callable[[Line], str]


def render(taken: Sequence[DeviceResult], sizes: Mapping[str, int]) -> RenderableType:
    """One block per device that measured something; failures are the command's to show."""
    parts: list[RenderableType] = []
    for one in taken:
        rows = lines(one, sizes)
        if rows:
            parts += ["", *_device(one, rows)] if parts else _device(one, rows)
    return Group(*parts)


def _device(one: DeviceResult, rows: Sequence[Line]) -> list[RenderableType]:
    first = rows[0].latency
    head = Text.assemble((one.profile.name, "bold"), f"  {_where(one, first)}")
    said = [*_conclusions(rows), *_remarks(rows)]
    return [head, "", _Fitting(rows), "", *(Text(line) for line in said)]


def _where(one: DeviceResult, latency: Latency) -> str:
    facts = one.facts
    machine = facts.get("board") or facts.get("cpu") or facts.get("machine") or "unknown machine"
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    processes = f"{len(latency.processes)} process{'es' if len(latency.processes) > 1 else ''} each"
    emulated = " (emulated)" if facts.get("emulated") else ""
    units = "memory and size in MB" if facts.get("emulated") else "times in ms, memory and size in MB"
    return f"{machine}{emulated}, {threads}, profile {latency.profile}, {processes}; {units}"


@dataclass(frozen=True, slots=True)
class _Fitting:
    """The rows with as many columns as the console has room for; the least needed go first."""

    rows: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        columns = list(_columns(self.rows))
        table = _table(self.rows, columns)
        for title in LEAST_NEEDED_FIRST:
            if console.measure(table, options=options.update(max_width=1000)).maximum <= options.max_width:
                break
            columns = [column for column in columns if column[0] != title]
            table = _table(self.rows, columns)
        yield table


def _table(rows: Sequence[Line], columns: Sequence[tuple[str, Cell]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("model", overflow="fold")
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("grade", no_wrap=True)
    for row in rows:
        grade = row.latency.grade
        table.add_row(row.name, *(cell(row) for _, cell in columns), Text(grade, STYLES[grade]))
    return table


def _columns(rows: Sequence[Line]) -> Iterator[tuple[str, Cell]]:
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
