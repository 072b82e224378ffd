"""The host's end of an emulated board's process 1: start it in namespaces of its own, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INIT = Path(__file__).with_name("board_init.py")
QEMU = "qemu-aarch64-static"
PREFIX = "/etc/qemu-binfmt/aarch64"
"""Where QEMU looks first for every absolute path that a program of the board opens: Debian's own choice."""


class BoardUnavailable(RuntimeError):
    """This machine cannot emulate a board; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class BoardProcess:
    """A process of the board: its id there, its user, its command without the emulator in front."""

    pid: int
    uid: int
    argv: tuple[str, ...]


def cpus() -> list[int]:
    """The host's CPUs that are the board's: as many as a Raspberry Pi has, where there are as many."""
    return sorted(os.sched_getaffinity(0))[:4]


def emulation(core: str) -> dict[str, str]:
    """What the emulator reads from the environment: which core to be, and where to look first for a path."""
    return {"QEMU_CPU": core, "QEMU_LD_PREFIX": PREFIX}


class Namespace:
    """A tree in use: mounted, with process 1. Everything in it ends with `close`, or with this process."""

    def __init__(self, base: Path, run: Path, *, core: str, writable: bool = False) -> None:
        """Show `base` at `run/tree`, changes kept in memory unless `writable`. Raises BoardUnavailable."""
        self.run = run
        spec = {
            "base": str(base),
            "run": str(run),
            "writable": writable,
            "log": str(run.with_suffix(".log")),
            "cpus": cpus(),
            "interpreter": shutil.which(QEMU),
            "environment": {
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "LANG": "C.UTF-8",
                **emulation(core),
            },
        }
        run.mkdir(parents=True, exist_ok=True)
        unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        self._init = subprocess.Popen(
            [*unshare, sys.executable, "-I", "-B", str(INIT), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the test run, which then closes the board
        )
        try:
            self.pid = int(self._answer(60)["pid"])
        except BaseException:
            self.close()
            raise

    @property
    def tree(self) -> Path:
        """The board's root as the host sees it, with what is mounted in it."""
        return Path(f"/proc/{self.pid}/root{self.run}/tree")

    def ask(self, do: str, *, wait: float = 60, **arguments: Any) -> dict[str, Any]:
        """Have process 1 do something. Raises BoardUnavailable with what it said when it could not."""
        if self._init.stdin is None or self._init.stdin.closed:
            raise BoardUnavailable("the board is closed")
        self._init.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._init.stdin.flush()
        return self._answer(wait)

    def _answer(self, wait: float) -> dict[str, Any]:
        assert self._init.stdout is not None
        assert self._init.stderr is not None
        ready, _, _ = select.select([self._init.stdout], [], [], wait)
        if not ready:
            raise BoardUnavailable(f"the board's process 1 does not answer within {wait:.0f} s")
        line = self._init.stdout.readline()
        if not line:
            said = self._init.stderr.read().decode(errors="replace").strip()
            raise BoardUnavailable(f"the board's process 1 ended: {said[-500:] or 'it said nothing'}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise BoardUnavailable(str(reply["error"]))
        return reply

    def close(self) -> None:
        """End process 1, and with it every process and mount of the board."""
        if self._init.stdin is not None and not self._init.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._init.stdin.close()
        try:
            self._init.wait(10)
        except subprocess.TimeoutExpired:
            self._init.kill()  # unshare takes process 1 along
            self._init.wait(10)
        for stream in (self._init.stdout, self._init.stderr):
            if stream is not None:
                stream.close()
