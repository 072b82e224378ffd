"""Failures: whatever ends a command becomes a message (what, why, what to do) and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from edgecnn.cli import console
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError

PIPE_CLOSED = 141
REPEATED_AFTER_S = 0.05
"""So much later the callback that dropped an interruption has ended."""

KEEPS_STAGES = ("optimize", "demo")
"""Commands that store finished stages and find them again."""
KEEPS_STEPS = ("train", "distill")
"""Commands that save their state and resume from it."""
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def guard(command: Callable[[], None], argv: Sequence[str]) -> int:
    """Run `command`, show whatever ends it, give the exit code. `argv` tells whether JSON was asked for."""
    try:
        command()
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        return _stdout_is_gone()
    except KeyboardInterrupt as error:
        console.note(f"\ninterrupted; {_after_interruption(argv)}")
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if isinstance(code, int) and not isinstance(error, EdgecnnError) and not hasattr(error, "format_message"):
            return code
        if type(error).__name__ == "NoArgsIsHelpError":
            console.result(error.format_message())  # type: ignore[attr-defined]
            return InputError.exit_code
        shown = translate(error)
        if shown.code == "cannot-write" and command_of(argv) in KEEPS_STAGES:
            shown.hint += "; finished stages are kept and will not be repeated"
        elif shown.code == "cannot-write" and command_of(argv) in KEEPS_STEPS:
            shown.hint += "; the same command then goes on after the last epoch that was saved, if any was"
        return _show(shown, error, as_json=wants_json(argv))


def heed_sigterm() -> None:
    """SIGTERM ends a command as Ctrl-C does: what was begun on a board is ended, and what is there is kept."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, on_signal)
    if sys.platform != "win32":  # there os.kill ends the process
        sys.unraisablehook = _repeat_interruption


def _repeat_interruption(dropped: sys.UnraisableHookArgs) -> None:
    """Where the exception of an interruption was raised in a callback, which drops it, it is raised again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    number = dropped.exc_value.args[0] if dropped.exc_value.args else signal.SIGINT
    again = threading.Timer(REPEATED_AFTER_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def command_of(argv: Sequence[str]) -> str:
    """The command's name; empty when none was given."""
    return next((word for word in argv if not word.startswith("-")), "")


def _after_interruption(argv: Sequence[str]) -> str:
    command = command_of(argv)
    if command in KEEPS_STAGES:
        return "finished stages are kept: run the same command again to continue"
    if command in KEEPS_STEPS or (command == "prune" and "--finetune" in argv):
        return "the training is saved as far as it came: run the same command again to continue"
    return f"`{' '.join(('edgecnn', command)).rstrip()}` starts over when it is run again"


def wants_json(argv: Sequence[str]) -> bool:
    """Whether `--json` is among the options, that is, before a bare `--`."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options


def translate(error: Exception) -> EdgecnnError:
    """Any exception as one with a code, a why and a hint; an unexpected one becomes `bug`."""
    if isinstance(error, EdgecnnError):
        return error
    if hasattr(error, "format_message"):
        return _usage(error)
    if isinstance(error, MemoryError):
        return StepError(
            "out-of-memory",
            "the memory of this machine is used up",
            why=str(error),
            hint="close other programs, or add swap space",
        )
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        return _cannot_write(error)
    if isinstance(error, ImportError) and (package := _package_error(error)) is not None:
        return package
    return _bug(error)


def _usage(error: Exception) -> InputError:
    """Typer's own complaint about the command line. Recognised by shape: Typer has carried Click inside since 0.2x."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "edgecnn"
    message = error.format_message()  # type: ignore[attr-defined]
    return InputError("usage", message.rstrip(".").replace("\n", " "), hint=f"{path} --help")


def _cannot_write(error: OSError) -> EdgecnnError:
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename and Path(error.filename).is_file():
        return InputError(
            "cannot-open",
            f"cannot open {error.filename}",
            why=error.strerror or str(error),
            hint=f"ls -l {error.filename}",
        )
    from edgecnn.core.store import cannot_write

    return cannot_write(Path(error.filename or "the output"), error)


def _package_error(error: ImportError) -> MissingError | None:
    return _missing_package(error.name or "") if isinstance(error, ModuleNotFoundError) else _broken_package(error)


def _missing_package(module: str) -> MissingError | None:
    from edgecnn.core.packages import package_of

    package = package_of(module)
    if package is None:
        return None
    return MissingError(
        "missing-package",
        f"the package {package.distribution} is not installed",
        why=f"`import {module}` found nothing",
        hint=package.command,
    )


def _broken_package(error: ImportError) -> MissingError | None:
    """A package that is installed and does not load: built against another version of the next, or half installed."""
    from edgecnn.core.packages import package_of

    folders = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)[::-1]]
    modules = [parts[parts.index("site-packages") + 1] for parts in folders if "site-packages" in parts]
    for module in ((error.name or "").partition(".")[0], *(Path(module).stem for module in modules)):
        package = package_of(module)
        if package is not None:
            name = package.distribution
            return MissingError(
                "broken-package",
                f"the package {name} is installed and cannot be imported",
                why=str(error),
                hint=f"pip install --force-reinstall {name}; `edgecnn doctor` tries every package",
            )
    return None


def _bug(error: Exception) -> StepError:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}edgecnn{os.sep}" in frame.filename]
    where = (ours or frames)[-1:] or None
    return StepError(
        "bug",
        f"edgecnn failed in a way it did not foresee: {type(error).__name__}: {error}",
        why=f"raised at {where[0].filename}:{where[0].lineno} in {where[0].name}" if where else "",
        hint="run it again with --verbose, and report the traceback with the output of `edgecnn doctor --json`",
    )


def _show(shown: EdgecnnError, raised: Exception, *, as_json: bool) -> int:
    if console.is_verbose() or os.environ.get("EDGECNN_DEBUG") == "1":
        console.details("".join(traceback.format_exception(raised)))
    console.failure(shown)
    if as_json:
        try:
            console.json({"error": shown.to_dict()})
        except OSError:
            _stdout_is_gone()
    return shown.exit_code


def _stdout_is_gone() -> int:
    """Point stdout at the null device: its reader left (`| head`) or the disk is full, and Python flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
