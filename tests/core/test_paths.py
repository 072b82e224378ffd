"""What a path leads to, where it is no regular file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.core.paths import irregularity, require_regular


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(os.path.relpath(path))


KINDS: list[tuple[Callable[[Path], object], str]] = [
    (Path.touch, ""),
    (lambda path: None, ""),
    (lambda path: path.symlink_to("nowhere"), ""),
    (Path.mkdir, "a folder"),
    (os.mkfifo, "a named pipe"),
    (bind, "a socket"),
    (lambda path: path.symlink_to("/dev/zero"), "a device"),
    (lambda path: path.symlink_to(path.name), "a symbolic link that leads back to itself"),
]


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    assert irregularity(tmp_path / "x") == kind
    if kind:
        with pytest.raises(OSError, match=kind):
            require_regular(tmp_path / "x")
    else:
        require_regular(tmp_path / "x")


def test_below_a_file_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert irregularity(tmp_path / "x" / "y") == ""
