"""SSH transport: the user's own OpenSSH, with its configuration, keys, agent and known hosts; none is weakened."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from edgecnn.core.child_process import run_command
from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.transport import Completed, Limits, OnLine, checked
from edgecnn.measure.transport.ssh_errors import explain, printable_tail

OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "StrictHostKeyChecking": "yes",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
    "LogLevel": "INFO",
    "ControlMaster": "auto",
    "ControlPersist": "120",
}
FAILED = 255
"""Exit code of ssh when ssh itself failed, and of scp when its ssh did."""
LONGEST_SOCKET_FOLDER = 40
"""A socket's name has at most 104 bytes, and ssh adds 58 of its own."""
SLOWEST_BYTES_PER_S = 50_000.0
GRACE_S = 60.0
LEAVE_S = 5.0


class SshTransport:
    """A `Transport` over `ssh` and `scp`: one connection that all commands share, closed with this."""

    def __init__(self, connect: Connect, *, name: str) -> None:
        self._connect = connect
        self._name = name
        self._stop = threading.Event()
        self._was_connected = False
        self._folder = _socket_folder()
        self._leave = weakref.finalize(self, _leave, self._ssh("-O", "exit"), self._folder)

    def run(
        self, argv: Sequence[str], limits: Limits, *, stdin: bytes = b"", on_line: OnLine | None = None
    ) -> Completed:
        words = [*self._ssh("-T"), shlex.join(argv)]

        def heard(line: bytes) -> object:
            self._was_connected = True
            return on_line(line) if on_line is not None else None

        completed = self._call(words, limits, stdin=stdin, on_line=heard if on_line is not None else None)
        if completed.code == FAILED:
            raise self._failure(completed)
        self._was_connected = True
        return completed

    def put(self, source: Path, target: str) -> None:
        size = source.stat().st_size
        words = ["scp", "-q", *self._options(), "--", str(source.resolve()), f"{self._scp_host}:{checked(target)}"]
        completed = self._call(words, Limits(GRACE_S + size / SLOWEST_BYTES_PER_S, 1 << 16))
        if completed.code == 0:
            self._was_connected = True
        elif completed.code == FAILED:
            raise self._failure(completed)
        else:
            why = printable_tail(completed.stderr)
            lost = "Connection closed" in why or "Connection reset" in why or "lost connection" in why
            code = "connection-lost" if lost else "cannot-copy"
            raise StepError(code, f"cannot copy {source.name} to {self._name}", why=why, hint=_scp_hint(why))

    def get(self, source: str, *, limit_bytes: int) -> bytes:
        limits = Limits(GRACE_S + limit_bytes / SLOWEST_BYTES_PER_S, limit_bytes, silence_s=GRACE_S)
        completed = self.run(["cat", checked(source)], limits)
        if completed.code:
            raise StepError(
                "cannot-copy", f"cannot read {source} on {self._name}", why=printable_tail(completed.stderr)
            )
        return completed.stdout

    def abort(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._leave()

    def _call(
        self, words: Sequence[str], limits: Limits, *, stdin: bytes = b"", on_line: OnLine | None = None
    ) -> Completed:
        self._stop.clear()
        try:
            return run_command(words, limits, name=self._name, stdin=stdin, on_line=on_line, stop=self._stop)
        except FileNotFoundError as error:
            raise MissingError(
                "ssh-missing",
                f"{self._name} is reached by {words[0]}, which is not installed here",
                hint="install OpenSSH's client, for example: sudo apt install openssh-client",
            ) from error
        except StepError as error:
            if error.code in ("board-silent", "board-timeout"):
                self._drop()
            raise

    def _failure(self, completed: Completed) -> EdgecnnError:
        """A connection that fails later may only hang: the next command must not share it."""
        self._drop()
        return explain(completed.stderr, name=self._name, connect=self._connect, was_connected=self._was_connected)

    def _drop(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(self._ssh("-O", "exit"), capture_output=True, check=False, timeout=LEAVE_S)
        with contextlib.suppress(OSError):
            for socket in self._folder.iterdir():
                socket.unlink()

    def _ssh(self, *words: str) -> list[str]:
        return ["ssh", *words, *self._options(), "--", self._connect.ssh.replace("[", "").replace("]", "")]

    def _options(self) -> list[str]:
        config = [] if self._connect.config is None else ["-F", str(self._connect.config.expanduser())]
        options = {**OPTIONS, "ControlPath": str(self._folder / "%C")}
        return [*config, *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]

    @property
    def _scp_host(self) -> str:
        """`user@host`; an IPv6 address in brackets, for scp ends a host at the first colon."""
        user, at, host = self._connect.ssh.rpartition("@")
        return f"{user}{at}[{host.strip('[]')}]" if ":" in host else self._connect.ssh


def _socket_folder() -> Path:
    """A private folder with a short name."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp is private
    for parent in candidates:
        if parent and len(parent) + len("/ecnn-12345678") <= LONGEST_SOCKET_FOLDER and os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="ecnn-", dir=parent))
    return Path(tempfile.mkdtemp(prefix="ecnn-"))


def _leave(command: Sequence[str], folder: Path) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if any(folder.iterdir()):
            subprocess.run(command, capture_output=True, check=False, timeout=LEAVE_S)
    shutil.rmtree(folder, ignore_errors=True)


def _scp_hint(why: str) -> str:
    if "message too long" in why:
        return "the board's shell greets: let ~/.bashrc there print only when it is interactive"
    if "subsystem" in why or "sftp-server" in why:
        return "on the board: sudo apt install openssh-sftp-server"
    return ""
