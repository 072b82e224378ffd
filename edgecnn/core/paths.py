"""Paths of the user: the home folder, the folder of their own recipes and devices; what a path leads to."""

from __future__ import annotations

import errno
import os
import stat
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


def irregularity(path: Path) -> str:
    """What a path leads to where that is no regular file: "a named pipe", say. Empty for a file, and where there is
    nothing."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        return "a symbolic link that leads back to itself" if getattr(error, "errno", 0) == errno.ELOOP else ""
    if stat.S_ISREG(mode):
        return ""
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
    return next((name for matches, name in kinds.items() if matches(mode)), "a device")


def require_regular(path: Path) -> None:
    """Raises OSError for what is no regular file: to read a pipe or a device may never end."""
    if found := irregularity(path):
        raise OSError(errno.EINVAL, f"it is {found}, not a file", str(path))
