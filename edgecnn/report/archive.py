"""Archived reports: JSON files that name their schema, written by one version of edgecnn and read by the next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgecnn.core.errors import InputError
from edgecnn.core.paths import require_regular

_Archived = TypeVar("_Archived")
DUMP: Final[dict[str, Any]] = {"mode": "json", "by_alias": True, "warnings": False}
"""How a `TypeAdapter` turns a report into plain JSON values; `fallback=str` is for what only people read."""
AGAIN = "run the command again: finished steps are found in the run's store"


def dumps(raw: Mapping[str, Any]) -> str:
    """One JSON document that ends in a newline; NaN and infinity become null."""
    return json.dumps(finite(raw), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def finite(value: Any) -> Any:
    """JSON values with None for each number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def load(path: Path, name: str, schema: str, adapter: TypeAdapter[_Archived]) -> _Archived:
    """What `adapter` describes, from the file `path` or the file `name` in the folder `path`.

    `schema` is the newest this version reads, such as `edgecnn.report/1`. Raises InputError: no such file, another
    kind of file, a newer schema, or a damaged one.
    """
    file = path / name if path.is_dir() else path
    raw = _read(file, hint=f"give the folder of a finished run, or its {name}")
    _check_schema(raw.get("schema"), schema, file)
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            "damaged-report", f"{file} is damaged", why=f"{where}: {first['msg']}{more}", hint=AGAIN
        ) from error


def _read(file: Path, *, hint: str) -> dict[str, Any]:
    try:
        require_regular(file)
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("no-report", f"there is no report at {file}", why=str(error), hint=hint) from error
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("damaged-report", f"{file} is damaged", why=f"it is not JSON: {error}", hint=AGAIN) from error
    if not isinstance(raw, dict):
        raise InputError("damaged-report", f"{file} is damaged", why="it is not a JSON object", hint=AGAIN)
    return raw


def _check_schema(written: Any, readable: str, file: Path) -> None:
    """Raises InputError unless `written` is the schema `readable` or an older number of it."""
    name, _, newest = readable.partition("/")
    kind, _, number = written.partition("/") if isinstance(written, str) else ("", "", "")
    if kind != name or not number.isascii() or not number.isdecimal():
        raise InputError(
            "not-a-report",
            f"{file} is no {name}",
            why=f"its schema is {written!r}" if written is not None else "it names no schema",
            hint="give the report.json that `edgecnn optimize` wrote",
        )
    if int(number) > int(newest):
        raise InputError(
            "newer-report",
            f"{file} was written by a newer edgecnn",
            why=f"its schema is {written}; this version reads {readable}",
            hint='upgrade: pip install --upgrade "edgecnn"',
        )
