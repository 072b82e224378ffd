"""Units: shares, points, times, sizes and counts as a person reads them, the same in every report and message."""

from __future__ import annotations

from collections.abc import Iterable

NOTHING = "–"
"""In place of a figure that is not known."""


def percent(share: float | None, digits: int = 2, *, sign: bool = True) -> str:
    """A share of one as a percentage: 0.7525 is `75.25 %`, without its sign `75.25`."""
    return NOTHING if share is None else f"{share * 100:.{digits}f}{' %' if sign else ''}"


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with a true minus sign: -0.0041 is `−0.41`."""
    if share is None:
        return NOTHING
    text = f"{share * 100:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits, never an exponent: `0.123`, `7.02`, `12.3`, `1234`."""
    if value is None:
        return NOTHING
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def latency(ns: float) -> str:
    """Nanoseconds with three significant digits and their unit: `12.3 ms`, `85.1 µs`."""
    value, unit = (ns / 1e6, "ms") if ns >= 1e5 else (ns / 1e3, "µs")
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:#.3g} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds of work: `0.4 s`, `12.3 s`, `2 min 05 s`, `3 h 05 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def estimate(seconds: float) -> str:
    """Seconds to come, no finer than an estimate deserves: `12 s`, `4 min`, `3 h 05 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(size_bytes: float | None) -> str:
    """Bytes in powers of ten, as file managers and data sheets count them: `999 B`, `25.0 kB`, `5.1 MB`."""
    if size_bytes is None:
        return NOTHING
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `12,345 images`, `2 processes`."""
    many = plural or noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else many}"


def between(low: str, high: str) -> str:
    """An interval, short enough for a table; nothing where there is none."""
    return "" if NOTHING in (low, high) or low == high else f"{low} … {high}"


def short(text: str, width: int = 48) -> str:
    """A name with its middle cut out where it is long: both its ends tell names apart."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def alternatives(words: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`; nothing for none."""
    every = list(words)
    return " or ".join(filter(None, (", ".join(every[:-1]), *every[-1:])))


def first_few(items: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more: `a, b, c and 5 more`."""
    every = list(items)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
