"""Events: the lines that a probe writes, as JSON of finite numbers and printable texts."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.core.third_party import printable
from edgecnn.measure.wire.fields import MOST_ITEMS, bad_answer

LONGEST_NUMBER = 40
DEEPEST = 32
"""Levels of lists and objects in one another; whoever unfolds or copies them later must not run out of stack."""
LONGEST_TEXT = 4096
"""Characters of a message, why or hint."""

T = TypeVar("T")


def event_of(line: bytes, device: str) -> dict[str, Any]:
    """One line of a board as an event: a JSON object with `event`, finite numbers and printable texts.

    Raises StepError bad-answer.
    """
    try:
        event = clean(json.loads(line, parse_constant=_reject, parse_float=_finite, parse_int=_whole))
    except (ValueError, RecursionError) as error:
        bad_answer(device, f"a line that is not JSON: {type(error).__name__}")
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        bad_answer(device, "a line that is not an event")
    return event


def field_of(answer: Mapping[str, Any], field: str, kind: type[T], *, device: str) -> T:
    """A field of an answer. Raises StepError bad-answer unless it is there and of this type."""
    value = answer.get(field)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        bad_answer(device, f"no {kind.__name__} '{field}'")
    return value


def error_of(event: Mapping[str, Any], *, subject: str = "") -> EdgecnnError:
    """An `error` event as an error. `subject` is added to the message: the file it is about."""
    code, message, why, hint = (str(event.get(key, ""))[:LONGEST_TEXT] for key in ("code", "message", "why", "hint"))
    family = MissingError if code in ("missing-runtime", "python-too-old") else StepError
    if re.fullmatch(r"[a-z][a-z0-9-]{0,63}", code) is None:
        code = "probe-failed"
    if subject and family is StepError:
        message = f"{message}: {subject}"
    return family(code, message, why=why, hint=hint)


def clean_facts(raw: object) -> dict[str, Any]:
    """Facts cut to size, for people and archives; empty for anything but an object."""
    return dict(clean(raw, most=MOST_ITEMS)) if isinstance(raw, Mapping) else {}


def _reject(constant: str) -> NoReturn:
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


def clean(value: Any, *, depth: int = DEEPEST, most: int = sys.maxsize) -> Any:
    """The same JSON value with printable texts, each text, list and object cut to `most`.

    Raises ValueError when it is nested deeper than `depth`.
    """
    if isinstance(value, str):
        return printable(value[:most])
    if isinstance(value, list | dict) and not depth:
        raise ValueError("too deep")
    if isinstance(value, list):
        return [clean(item, depth=depth - 1, most=most) for item in value[:most]]
    if isinstance(value, dict):
        items = list(value.items())[:most]
        return {printable(str(key)[:most]): clean(item, depth=depth - 1, most=most) for key, item in items}
    return value
