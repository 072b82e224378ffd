"""Paths of the user: the home folder, the folder of their own recipes and devices."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder() -> Path:
    """`$XDG_CONFIG_HOME/edgecnn`, by default `~/.config/edgecnn`."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".config") / "edgecnn"


def at_home(path: str | Path) -> Path:
    """`~` and `~user` as folders; left as written where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
