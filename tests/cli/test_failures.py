"""Whatever ends a command is shown as what, why and what to do, with the exit code of its kind."""

from __future__ import annotations

import errno
import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from edgecnn.cli import console, failures
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError, install_hint

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGECNN_DEBUG", raising=False)
    console.configure()


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def edgecnn(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgecnn", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (MissingError, 4), (StepError, 5)])
def test_three_parts_and_the_exit_code(kind: type[EdgecnnError], code: int, capsys: Captured) -> None:
    error = kind("some-code", "it did not work", why="first reason\nsecond reason", hint="edgecnn doctor")
    assert failures.guard(raising(error), []) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error[some-code]: it did not work",
        "  why: first reason",
        "       second reason",
        " hint: edgecnn doctor",
    ]


def test_with_json_the_error_is_a_result_too(capsys: Captured) -> None:
    error = InputError("some-code", "it did not work", why="w", hint="h")
    assert failures.guard(raising(error), ["inspect", "x", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == {
        "code": "some-code",
        "message": "it did not work",
        "why": "w",
        "hint": "h",
        "exit_code": 2,
    }
    assert "error[some-code]" in err


def test_json_after_two_dashes_is_a_word() -> None:
    assert failures.wants_json(["a", "--json"])
    assert not failures.wants_json(["a", "--", "--json"])


def test_success_is_zero_and_a_verdict_has_its_own_code() -> None:
    assert failures.guard(lambda: None, []) == 0
    assert failures.guard(raising(typer.Exit(3)), []) == 3


@pytest.mark.parametrize("argv", [["optimize", "x.pth"], ["--verbose", "demo"]])
def test_interrupted_where_stages_are_kept(argv: list[str], capsys: Captured) -> None:
    assert failures.guard(raising(KeyboardInterrupt()), argv) == 130
    assert "finished stages are kept: run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["train", "x"], ["distill", "x.pth"], ["prune", "x.pth", "--finetune", "3"]])
def test_interrupted_where_a_training_is_saved(argv: list[str], capsys: Captured) -> None:
    assert failures.guard(raising(KeyboardInterrupt()), argv) == 130
    assert "saved as far as it came: run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "quantize", "benchmark", "prune"])
def test_interrupted_where_nothing_is_kept(command: str, capsys: Captured) -> None:
    assert failures.guard(raising(KeyboardInterrupt()), [command, "x"]) == 130
    assert capsys.readouterr().err.strip() == f"interrupted; `edgecnn {command}` starts over when it is run again"


@pytest.mark.parametrize(("command", "kept"), [("optimize", True), ("demo", True), ("quantize", False)])
def test_a_disk_that_refuses_promises_only_what_is_kept(command: str, kept: bool, capsys: Captured) -> None:
    from edgecnn.core.store import cannot_write

    refused = OSError(errno.ENOSPC, "No space left on device", "/out/x")
    for error in (refused, cannot_write(Path("/out/x"), refused)):
        assert failures.guard(raising(error), [command, "x"]) == 5
        err = capsys.readouterr().err
        assert "--out" in err
        assert ("finished stages are kept" in err) is kept


def test_what_a_file_says_does_not_drive_the_terminal(capsys: Captured) -> None:
    error = InputError("some-code", "named \x1b[2Jevil\r\x9b1m", why="a\x07\n\tb", hint="\x1b]0;x\x07ls\nrm")
    assert failures.guard(raising(error), []) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error[some-code]: named [2Jevil1m",
        "  why: a",
        "       \tb",
        " hint: ]0;xls",
        "       rm",
    ]


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), "cannot-write", 5),
        (PermissionError(errno.EACCES, "Permission denied", "/out/x"), "cannot-write", 5),
        (MemoryError("unable to allocate 9 GiB"), "out-of-memory", 5),
        (ModuleNotFoundError("no", name="timm"), "missing-package", 4),
        (ModuleNotFoundError("no", name="litert_torch.backend"), "missing-package", 4),
        (ModuleNotFoundError("no", name="nonsense"), "bug", 5),
        (ImportError("cannot import name 'create_model' from 'timm'", name="timm"), "broken-package", 4),
        (ImportError("libjpeg.so.62: cannot open shared object file", name="PIL._imaging"), "broken-package", 4),
        (ImportError("cannot import name 'x' from 'edgecnn.core'", name="edgecnn.core"), "bug", 5),
        (ValueError("surprise"), "bug", 5),
    ],
)
def test_foreign_errors(error: Exception, code: str, exit_code: int, capsys: Captured) -> None:
    assert failures.guard(raising(error), []) == exit_code
    err = capsys.readouterr().err
    assert f"error[{code}]: " in err
    assert " hint: " in err
    assert "Traceback" not in err


def test_a_package_that_fails_inside_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages" / "timm"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from json import nothing_like_it\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError) as caught:
        importlib.import_module("timm")
    shown = failures.translate(caught.value)
    assert (shown.code, shown.exit_code) == ("broken-package", 4)
    assert "timm" in shown.message and "nothing_like_it" in shown.why


def test_a_missing_extra_names_the_command_to_type() -> None:
    assert failures.translate(ModuleNotFoundError("no", name="timm")).hint == install_hint("timm")


def test_a_file_that_may_not_be_read_is_not_called_unwritable(tmp_path: Path) -> None:
    secret = tmp_path / "model.pth"
    secret.touch()
    shown = failures.translate(PermissionError(errno.EACCES, "Permission denied", str(secret)))
    assert (shown.code, shown.exit_code) == ("cannot-open", 2)


@pytest.mark.parametrize("how", ["verbose", "variable"])
def test_the_traceback_is_shown_when_asked_for(how: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "verbose":
        console.configure(verbose=True)
    else:
        monkeypatch.setenv("EDGECNN_DEBUG", "1")
    failures.guard(raising(ValueError("surprise")), [])
    assert "Traceback" in capsys.readouterr().err
    console.configure()


def test_wrong_usage_is_two_and_points_to_the_help() -> None:
    done = edgecnn("devices", "show", "--frob")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error[usage]: ")
    assert done.stderr.endswith(" hint: edgecnn devices show --help\n")


def test_an_unknown_command_in_json() -> None:
    done = edgecnn("frobnicate", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_a_reader_that_leaves_is_no_failure_of_ours() -> None:
    argv = [sys.executable, "-m", "edgecnn", "recipes", "list", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == failures.PIPE_CLOSED


@pytest.mark.parametrize("words", [(), ("devices",)], ids=["program", "group"])
def test_no_command_shows_the_help(words: tuple[str, ...]) -> None:
    done = edgecnn(*words)
    assert done.returncode == 2
    assert done.stdout.startswith("Usage: edgecnn")
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_stdout_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "edgecnn", "recipes", "list", "--json"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert "error[cannot-write]" in done.stderr
    assert "Traceback" not in done.stderr


DROPPED = """
import gc, signal, sys, time
from edgecnn.cli import failures

def callback(phase, about):
    gc.callbacks.remove(callback)
    signal.raise_signal(int(sys.argv[1]))

def command():
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(60)

failures.heed_sigterm()
sys.exit(failures.guard(command, ["export"]))
"""
"""The signal comes within a callback of the garbage collector, which drops what its handler raises."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interruption_is_not_lost_in_a_callback(number: signal.Signals) -> None:
    command = [sys.executable, "-c", DROPPED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 128 + number and "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
