"""Errors on the board, as they are sent to the host."""

from __future__ import annotations


class ProbeError(Exception):
    """An error with a stable `code`: bad-job, unknown-backend, missing-runtime, cannot-load, cannot-run, cannot-
    write."""

    def __init__(self, code: str, message: str, why: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.why = why
        self.hint = hint

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "why": self.why, "hint": self.hint}


def first_line(error: BaseException) -> str:
    """The exception's own words: its text up to the first line break, or its type when it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
