"""Temporary folders: they go with the block, and those of a killed process with the next process that makes one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgecnn.core import temporary
from edgecnn.core.temporary import ABANDONED_S, sweep_temporary, temporary_folder

HOLD = """
import os, signal, sys
from edgecnn.core.temporary import lasting_folder, temporary_folder
with temporary_folder("latency") as one:
    (one / "inner").mkdir()
    print(one, lasting_folder("probe"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    temporary._sweep_once.cache_clear()
    return tmp_path


def held() -> tuple[subprocess.Popen[str], list[Path]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [Path(word) for word in process.stdout.readline().split()]


def test_a_folder_goes_with_its_block(parent: Path) -> None:
    with temporary_folder("stage") as folder:
        (folder / "file").touch()
        assert folder.parent == parent
    assert not list(parent.iterdir())


def test_what_a_killed_process_left_is_swept(parent: Path) -> None:
    process, folders = held()
    with process:
        process.send_signal(signal.SIGKILL)
    assert len(folders) == 2 and all(folder.is_dir() for folder in folders)
    with temporary_folder("stage") as own:
        assert list(parent.iterdir()) == [own]


def test_what_a_living_process_holds_stays(parent: Path) -> None:
    process, folders = held()
    with process:
        sweep_temporary(parent)
        assert all(folder.is_dir() for folder in folders)
        process.communicate("")
    assert not any(folder.exists() for folder in folders)


def test_a_lock_counts_where_the_process_cannot_be_seen(parent: Path) -> None:
    process, (folder, _) = held()
    with process:
        gone = folder.rename(parent / f"edgecnn-latency-{1 << 30}-{folder.name[-8:]}")
        sweep_temporary(parent)
        assert gone.is_dir()
        process.send_signal(signal.SIGKILL)
    sweep_temporary(parent)
    assert not gone.exists()


@pytest.mark.parametrize(
    ("name", "age_s", "stays"),
    [
        ("edgecnn-latency-ab12cd_3", 0, True),
        ("edgecnn-latency-ab12cd_3", ABANDONED_S + 60, False),
        ("edgecnn-ab12cd_3", ABANDONED_S + 60, False),
        ("edgecnn-my-own-work", ABANDONED_S + 60, True),
        ("edgecnn-board-notes.txt", ABANDONED_S + 60, True),
        (f"edgecnn-latency-{1 << 30}-ab12cd_3", 0, False),
        ("edgecnn-latency-OWN-ab12cd_3", ABANDONED_S + 60, True),
    ],
)
def test_which_folders_are_swept(parent: Path, name: str, age_s: float, stays: bool) -> None:
    name = name.replace("OWN", str(os.getpid()))
    (parent / name).mkdir()
    then = time.time() - age_s
    os.utime(parent / name, (then, then))
    sweep_temporary(parent)
    assert (parent / name).exists() == stays


def test_a_file_or_a_link_of_such_a_name_stays(parent: Path) -> None:
    (parent / "target").mkdir()
    (parent / f"edgecnn-stage-{1 << 30}-ab12cd_3").symlink_to("target")
    (parent / f"edgecnn-stage-{1 << 30}-ab12cd_4").touch()
    sweep_temporary(parent)
    assert len(list(parent.iterdir())) == 3
