"""Shells complete what is typed: the installed script asks the program itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("edgecnn pru", {"prune"}), ("edgecnn devices ch", {"check"}), ("edgecnn prune --ma", {"--macs", "--max-layer"})],
)
def test_words_are_completed(typed: str, offered: set[str]) -> None:
    asked = {"_EDGECNN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    argv = [sys.executable, "-m", "edgecnn"]
    done = subprocess.run(argv, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_the_script_for_a_shell_asks_by_that_variable() -> None:
    argv = [sys.executable, "-m", "edgecnn", "--show-completion"]
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run([*argv, "bash"], env=env, capture_output=True, text=True, check=False)
    assert "_EDGECNN_COMPLETE=complete_bash" in done.stdout, done.stderr
