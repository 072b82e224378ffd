"""Console, the only printer: results on stdout, everything else on stderr.

rich is imported when something is drawn, so that `edgecnn --help` stays quick.
"""

from __future__ import annotations

import io
import json as _json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

    from edgecnn.core.errors import EdgecnnError
    from edgecnn.core.events import Event, Listener

PIPED_WIDTH = 120
"""Columns used where there is no terminal to ask."""
_CONTROL = dict.fromkeys(code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n")


@dataclass(slots=True)
class _Settings:
    quiet: bool = False
    verbose: bool = False


_settings = _Settings()


def configure(*, quiet: bool = False, verbose: bool = False) -> None:
    """Set how much goes to stderr: `quiet` leaves errors only, `verbose` adds steps as they start and tracebacks."""
    _settings.quiet = quiet
    _settings.verbose = verbose


def is_verbose() -> bool:
    return _settings.verbose


def result(thing: Any) -> None:
    """Print a text or a rich renderable to stdout; plain lines of 120 columns where stdout is no terminal."""
    if isinstance(thing, str):
        _write(sys.stdout, harmless(thing))
    elif sys.stdout.isatty():
        rich_console(sys.stdout).print(_Harmless(thing))
    else:
        _write(sys.stdout, harmless(_plain_lines(thing)))


def json(thing: Any) -> None:
    """Print one JSON document to stdout: dataclasses, models and arrays unfolded, NaN and infinity as null."""
    _write(sys.stdout, _json.dumps(_jsonable(thing), indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Print a remark to stderr, unless quiet."""
    if not _settings.quiet:
        _write(sys.stderr, harmless(text))


def failure(error: EdgecnnError) -> None:
    """Print an error to stderr: what, why, and what to do."""
    _write(sys.stderr, f"{_paint('1;31', f'error[{error.code}]')}: {harmless(error.message)}")
    for label, text in (("why", error.why), ("hint", error.hint)):
        if text:
            first, *rest = harmless(text).split("\n")
            _write(sys.stderr, f"{_paint('1', f'{label:>5}')}: {first}")
            for line in rest:
                _write(sys.stderr, f"       {line}")


def details(text: str) -> None:
    """Print a traceback to stderr, whatever the settings."""
    _write(sys.stderr, _paint("2", harmless(text.rstrip("\n"))))


@contextmanager
def listener() -> Iterator[Listener]:
    """A `Listener` that shows progress on stderr: bars on a terminal, otherwise a line per finished step."""
    from edgecnn.cli import progress

    if _settings.quiet:
        from edgecnn.core.events import ignore

        yield ignore
    elif sys.stderr.isatty():
        with progress.Bars(rich_console(sys.stderr)) as bars:
            yield _harmlessly(bars.listener)
    else:
        with progress.Lines(lambda text: _write(sys.stderr, text), verbose=_settings.verbose) as lines:
            yield _harmlessly(lines.listener)


def harmless(text: str) -> str:
    """A text without control characters but tab and newline: what comes from a file must not drive the terminal."""
    return text.translate(_CONTROL)


def _harmlessly(listener: Listener) -> Listener:
    def clean(event: Event) -> None:
        texts: dict[str, Any] = {name: harmless(value) for name, value in asdict(event).items() if type(value) is str}
        listener(replace(event, **texts))

    return clean


class _Harmless:
    """A renderable whose texts are harmless; its colours stay."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.segment import Segment

        for text, style, control in console.render(self._thing, options):
            yield Segment(text if control else harmless(text), style, control)


def rich_console(stream: IO[str], **terminal: Any) -> Console:
    """A console that prints what it is given: no guessing of numbers, emoji codes or markup."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False, **terminal)


def grid(rows: Iterable[Sequence[Any]], *styles: str) -> Table:
    """Rows without head and rules, a column for each of `styles`; the last one folds. Texts are taken as they are."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for number, style in enumerate(styles, 1):
        table.add_column(style=style, no_wrap=number < len(styles), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _plain_lines(renderable: Any) -> str:
    sink = io.StringIO()
    rich_console(sink, width=PIPED_WIDTH, force_terminal=False, color_system=None).print(renderable)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def _write(stream: TextIO, text: str) -> None:
    """One whole line, flushed, so that stdout and stderr keep their order in one log.

    A stream that cannot spell a character gets a question mark instead.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def _paint(style: str, text: str) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{style}m{text}\x1b[0m"


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    for unfold in ("model_dump", "to_dict", "tolist"):
        if hasattr(value, unfold):
            return _jsonable(getattr(value, unfold)())
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable(asdict(value))
    return str(value)
