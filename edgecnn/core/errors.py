"""Errors that this package raises on purpose, in families by who must act.

An error is constructed where the facts are and shown in one place, `edgecnn.cli.failures`. Each has a kebab-case
`code` (stable, for scripts), a `message` (what), a `why` (the fact behind it) and a `hint` (a command to type or an
edit to make).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar


class EdgecnnError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: ClassVar[int] = 5

    def __init__(self, code: str, message: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.why = why
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes, keywords included."""
        return partial(type(self), why=self.why, hint=self.hint), (self.code, self.message)

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.why, self.hint) if part)

    def to_dict(self) -> dict[str, str | int]:
        return {
            "code": self.code,
            "message": self.message,
            "why": self.why,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class InputError(EdgecnnError):
    """The user's file, data, recipe or option has to change."""

    exit_code: ClassVar[int] = 2


class MissingError(EdgecnnError):
    """A package, tool or device is not there."""

    exit_code: ClassVar[int] = 4


class StepError(EdgecnnError):
    """A step failed on input that was accepted."""

    exit_code: ClassVar[int] = 5


def did_you_mean(word: str, known: list[str]) -> str:
    """A hint naming the closest known words, or all of them when none is close."""
    from difflib import SequenceMatcher, get_close_matches

    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        nearness = [SequenceMatcher(None, word, name).ratio() for name in close]
        close = [name for name, near in zip(close, nearness, strict=True) if near > nearness[0] - 0.2]
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    return "known: " + ", ".join(sorted(known))


def install_hint(extra: str) -> str:
    """The command that adds an extra to edgecnn, from where it was installed: an index, a checkout, a URL.

    Source: PEP 610, `direct_url.json`.
    """
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        origin = json.loads(distribution("edgecnn").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from its sources
        origin = {"url": Path(__file__).resolve().parents[2].as_uri(), "dir_info": {"editable": True}}
    except ValueError:
        origin = {}
    return _install(extra, origin)


def _install(extra: str, origin: dict[str, Any]) -> str:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    url, editable = str(origin.get("url", "")), origin.get("dir_info", {}).get("editable")
    if "dir_info" in origin:
        checkout = Path(url2pathname(urlsplit(url).path))
        if checkout.is_dir():
            place = "." if checkout.resolve() == Path.cwd() else checkout
            return f'pip install {"-e " if editable else ""}"{place}[{extra}]"'
    elif "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f'pip install "edgecnn[{extra}] @ {vcs["vcs"]}+{url}@{vcs["commit_id"]}"'
    elif url:
        return f'pip install "edgecnn[{extra}] @ {url}"'
    return f'pip install "edgecnn[{extra}]"'
