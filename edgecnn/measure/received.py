"""What a board sends is hostile until it has passed here: bounded, typed, finite, and harmless to look at."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.core.third_party import printable

LONGEST_NUMBER = 40
DEEPEST = 32
"""Levels of lists and objects in one another; whoever unfolds or copies them later must not run out of stack."""
LONGEST_TEXT = 4096
"""Characters of a message, why or hint."""
NPY = re.compile(
    rb"\{'descr': '([<|][a-z][1-8])', 'fortran_order': False, 'shape': \((\d{0,15}(?:, ?\d{1,15}){0,3}),?\), *\} *\n"
)
"""The header as numpy writes it, of up to four axes, each shorter than 10^15."""
MAGIC = b"\x93NUMPY\x01\x00"
DTYPES = {b"<f2": 2, b"<f4": 4, b"<f8": 8, b"<i8": 8, b"<i4": 4, b"|i1": 1, b"|u1": 1}
"""Types an array may have, with the bytes of one element."""


def event_of(line: bytes, name: str) -> dict[str, Any]:
    """One line of board `name` as an event: a JSON object with `event`, finite numbers and clean texts.

    Raises StepError bad-answer.
    """
    try:
        event = clean(json.loads(line, parse_constant=_refuse, parse_float=_finite, parse_int=_whole))
    except (ValueError, RecursionError) as error:
        bad_answer(name, f"a line that is not JSON: {type(error).__name__}")
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        bad_answer(name, "a line that is not an event")
    return event


def clean(value: Any, *, depth: int = DEEPEST) -> Any:
    """The same JSON value with printable texts. Raises ValueError when it is nested deeper than `depth`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | dict) and not depth:
        raise ValueError("too deep")
    if isinstance(value, list):
        return [clean(item, depth=depth - 1) for item in value]
    if isinstance(value, dict):
        return {printable(key): clean(item, depth=depth - 1) for key, item in value.items()}
    return value


def take(answer: Mapping[str, Any], field: str, *kinds: type, name: str) -> Any:
    """A field of an answer. Raises StepError bad-answer unless it is there and of one of these types."""
    value = answer.get(field)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        bad_answer(name, f"no {' or '.join(kind.__name__ for kind in kinds)} '{field}'")
    return value


def told(event: Mapping[str, Any], *, subject: str = "") -> EdgecnnError:
    """An `error` event as an error. `subject` is added to the message: the file it is about."""
    code, message, why, hint = (str(event.get(key, ""))[:LONGEST_TEXT] for key in ("code", "message", "why", "hint"))
    family = MissingError if code in ("missing-runtime", "python-too-old") else StepError
    if re.fullmatch(r"[a-z][a-z0-9-]{0,63}", code) is None:
        code = "probe-failed"
    if subject and family is StepError:
        message = f"{message}: {subject}"
    return family(code, message, why=why, hint=hint)


def check_npy(raw: bytes, name: str) -> None:
    """Raises StepError bad-answer unless `raw` is a plain array: no objects, up to four axes, and exactly as long as
    its header says. Nothing is allocated by the header's word."""
    length = int.from_bytes(raw[8:10], "little")
    header = NPY.fullmatch(raw[10 : 10 + length]) if raw.startswith(MAGIC) else None
    if header is None or header[1] not in DTYPES:
        bad_answer(name, "something that is no plain array")
    sizes = [int(size) for size in header[2].split(b",") if size.strip()]
    if math.prod(sizes) * DTYPES[header[1]] != len(raw) - 10 - length:
        bad_answer(name, "an array whose header does not fit its content")


def bad_answer(name: str, what: str) -> NoReturn:
    raise StepError(
        "bad-answer",
        f"{name} sent {what}",
        why="it is not what the probe of this version says",
        hint="look who else runs on the board, and whether it is the right one",
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("too long")
    return int(digits)
