"""Third-party output: kept off the user's terminal, and one line of it in our errors; the border around its parsers."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

from edgecnn.core.errors import EdgecnnError, InputError

SHOWN_CHARACTERS = 300
LONGEST_NOTE = 120
"""Characters of what a device says it does, for a line of progress."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
"""ECMA-48: colours, cursor, titles and links."""


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Drop what the whole process writes meanwhile: converters write to descriptors 1 and 2 from C++.

    Warnings are dropped too, and what `loggers` say below ERROR. Exceptions pass: they carry all that matters.
    """
    with contextlib.ExitStack() as undo:
        sink = undo.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a daemon may have closed it
                saved = os.dup(descriptor)
                os.dup2(sink.fileno(), descriptor)
                undo.callback(_restore, saved, descriptor)
        for logger in map(logging.getLogger, loggers):
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        undo.enter_context(contextlib.redirect_stdout(sink))
        undo.enter_context(contextlib.redirect_stderr(sink))
        undo.callback(sink.flush)
        yield


def _restore(saved: int, descriptor: int) -> None:
    os.dup2(saved, descriptor)
    os.close(saved)


@contextlib.contextmanager
def parsing(path: Path, kind: str) -> Iterator[None]:
    """The border around whatever reads a file that may come from anywhere: what a parser raises of damaged or hostile
    content is the InputError `damaged-file`, which names the file."""
    try:
        yield
    except EdgecnnError:
        raise
    except Exception as error:  # parsers document few of their errors, and content decides which
        raise InputError(
            "damaged-file",
            f"{path} is not a readable {kind}",
            why=sanitize(first_line(error)),
            hint="copy or make the file again",
        ) from error


def first_line(error: BaseException) -> str:
    """The innermost cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:SHOWN_CHARACTERS]


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would obey or hide: escape sequences, control, format and lone
    surrogate characters.

    Line breaks and tabs stay.
    """
    text = _ESCAPES.sub("", text)
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    )


def sanitize(value: object, longest: int = SHOWN_CHARACTERS) -> str:
    """Text from elsewhere as one line of printable characters, not too long."""
    return " ".join(printable(str(value)[:longest]).split())
