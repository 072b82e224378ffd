"""Job: a JSON object whose fields are checked when they are used."""

from __future__ import annotations

import json
from typing import Any

from .errors import ProbeError, first_line


class Job:
    """One request. `get` raises ProbeError bad-job for a field that is absent or of another type."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @classmethod
    def parse(cls, text: str) -> Job:
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ProbeError("bad-job", "the job is not JSON", first_line(error)) from error
        if not isinstance(fields, dict):
            raise ProbeError("bad-job", "the job is not a JSON object", "it is a " + type(fields).__name__)
        return cls(fields)

    def get(self, name: str, *kinds: type) -> Any:
        if name not in self._fields:
            raise ProbeError("bad-job", f"the job has no field '{name}'")
        value = self._fields[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise ProbeError("bad-job", f"field '{name}' of the job is not {wanted}", f"it is {value!r}")
        return value

    def get_or(self, name: str, default: Any, *kinds: type) -> Any:
        return self.get(name, *kinds) if self._fields.get(name) is not None else default
