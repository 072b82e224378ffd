"""Python child processes that import installed packages only, never a file that lies in the current folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ISOLATION = "import sys; sys.path[:] = [entry for entry in sys.path if entry]\n"
"""Ahead of any program for `-c`: it takes the current folder, which is the empty entry, off the path. The option -I
would also hide what `pip install --user` installed, where boards have their runtimes; -P came with Python 3.11."""


def python_command(program: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    """The command that runs `program`, Python source, in a fresh process of this Python."""
    return [sys.executable, *options, "-B", "-c", ISOLATION + program, *arguments]
