"""Process 1 of an emulated board, started by `board_namespace` as root in namespaces of its own.

It mounts the board's file system, starts its SSH server, and does what it is told over its standard input: one JSON
object a line, answered by one on standard output. When its input ends it ends too, and the kernel then kills every
process of the board and drops every mount: nothing is left behind, whatever happened to the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BINFMT = Path("/proc/sys/fs/binfmt_misc")
ELF_MAGIC = "7f454c460201010000000000000000000200b700"
ELF_MASK = "ffffffffffffff00fffffffffffffffffeffffff"
PIDS_AHEAD = 4096
"""So many process ids are linked before a process has them: far more than start between two looks."""
SSHD = "/usr/sbin/sshd"
STREAMS = tuple((name, f"/proc/self/fd/{number}") for number, name in enumerate(("stdin", "stdout", "stderr")))


class Board:
    """The board as seen from inside: its mounts, its server, its processes."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """`spec` says which tree to show (`base`), where (`run`), whether to write to it, and how its programs run."""
        self.base = Path(spec["base"])
        self.run = Path(spec["run"])
        self.writable: bool = spec["writable"]
        self.interpreter: str = spec["interpreter"]
        self.environment: dict[str, str] = spec["environment"]
        self.log = Path(spec["log"])
        self.tree = self.run / "tree"
        self.prefix: str = spec["environment"]["QEMU_LD_PREFIX"]
        self.proc = self.tree / self.prefix.lstrip("/") / "proc"
        self.server: int | None = None
        self.linked = 0
        os.sched_setaffinity(0, spec["cpus"])
        socket.sethostname("raspberrypi")

    def mount(self) -> None:
        """Show the tree: the base itself, or a layer in memory over it; then its `/dev` and `/proc`."""
        _binfmt(self.interpreter)
        _mount("-t", "tmpfs", "-o", "mode=0755", "board", str(self.run))
        for name in ("upper", "work", "tree"):
            (self.run / name).mkdir()
        if self.writable:
            _mount("--bind", str(self.base), str(self.tree))
        else:
            layers = f"lowerdir={self.base},upperdir={self.run}/upper,workdir={self.run}/work"
            _mount("-t", "overlay", "-o", layers, "board", str(self.tree))
        self._mount_dev()
        self._mount_proc()

    def _mount_dev(self) -> None:
        """The few devices every program expects, none of the host's disks."""
        dev = self.tree / "dev"
        _mount("-t", "tmpfs", "-o", "mode=0755", "board", str(dev))
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            (dev / name).touch()
            _mount("--bind", f"/dev/{name}", str(dev / name))
        for name, options in (("pts", "newinstance,ptmxmode=0666"), ("shm", "mode=1777")):
            (dev / name).mkdir()
            _mount("-t", "devpts" if name == "pts" else "tmpfs", "-o", options, "board", str(dev / name))
        for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), *STREAMS):
            (dev / name).symlink_to(target)

    def _mount_proc(self) -> None:
        """A `/proc` with `/proc/device-tree`, which the kernel of an x86 host does not have and lets nobody add.

        The kernel's own is mounted where QEMU looks first. `/proc` itself is a folder in memory that links to it, with
        what is missing added: it is what QEMU falls back to, and what the few calls see that QEMU does not redirect.
        """
        self.proc.mkdir(parents=True, exist_ok=True)
        _mount("-t", "proc", "board", str(self.proc))
        shown = self.tree / "proc"
        _mount("-t", "tmpfs", "-o", "mode=0555", "board", str(shown))
        for name in {entry.name for entry in self.proc.iterdir() if not entry.name.isdigit()} - {"device-tree"}:
            (shown / name).symlink_to(f"{self.prefix}/proc/{name}")
        (shown / "device-tree").symlink_to("/sys/firmware/devicetree/base")
        self.link_pids()

    def link_pids(self) -> None:
        """Keep a link in `/proc` for every process to come: QEMU does not redirect `readlink`, for one."""
        last = int((self.proc / "loadavg").read_text().split()[-1])
        if last + PIDS_AHEAD > self.linked:
            for number in range(self.linked + 1, last + 2 * PIDS_AHEAD):
                (self.tree / "proc" / str(number)).symlink_to(f"{self.prefix}/proc/{number}")
                self.linked = number

    def bind_proc(self, source: str, name: str) -> dict[str, Any]:
        """Have a file of the tree stand for one of `/proc`, such as `cpuinfo`."""
        _mount("--bind", str(self.tree / source), str(self.proc / name))
        return {}

    def execute(self, argv: list[str]) -> dict[str, Any]:
        """Run a command of the board as its root."""
        ended = subprocess.run(self._inside(argv), env=self.environment, capture_output=True, text=True, check=False)
        return {"rc": ended.returncode, "out": ended.stdout, "err": ended.stderr}

    def listen(self, seconds: float) -> dict[str, Any]:
        """Start the SSH server and wait until it listens."""
        with self.log.open("wb") as log:
            server = subprocess.Popen(
                self._inside([SSHD, "-D", "-e"]), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.server = server.pid
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.reap()
            said = self.log.read_text(errors="replace")
            if "Server listening on" in said:
                return {}
            if self.server is None:
                raise RuntimeError(f"sshd ended: {said.strip()[-500:]}")
            time.sleep(0.05)
        raise RuntimeError(f"sshd does not listen after {seconds:.0f} s")

    def stop_listening(self) -> dict[str, Any]:
        """End the server; open connections live on, as they do with a real one."""
        if self.server is not None:
            os.kill(self.server, signal.SIGKILL)
            self._until(lambda: self.server is None)
        return {}

    def cut(self) -> dict[str, Any]:
        """End every open connection from the board's side; the commands that ran in them are not ended."""
        for process in self._processes():
            if process["argv"][:1] == [SSHD] and process["pid"] != self.server:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process["pid"], signal.SIGKILL)
        self.reap()
        return {}

    def power_cut(self) -> dict[str, Any]:
        """Kill everything and empty what lives in memory."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        self._until(lambda: not self._processes())
        self.server = None
        for left in (self.tree / "dev/shm").iterdir():
            left.unlink()
        return {}

    def mount_disk(self, path: str, size: int, owner: int) -> dict[str, Any]:
        """Mount an empty disk of that size, made of memory, owned by that user."""
        at = self.tree / path.lstrip("/")
        if not at.exists():
            at.mkdir(parents=True)
            os.chown(at, owner, owner)
        _mount("-t", "tmpfs", "-o", f"size={size},uid={owner},gid={owner},mode=0755", "disk", str(at))
        return {}

    def unmount_disk(self, path: str) -> dict[str, Any]:
        """Take the disk away, in use or not."""
        _do("umount", "-l", str(self.tree / path.lstrip("/")))
        return {}

    def processes(self) -> dict[str, Any]:
        """What runs on the board."""
        self.reap()
        return {"processes": self._processes()}

    def reap(self) -> None:
        """Bury the dead: a process whose parent is gone belongs to process 1."""
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if pid == self.server:
                    self.server = None

    def _inside(self, argv: list[str]) -> list[str]:
        return ["chroot", str(self.tree), *argv]

    def _until(self, done: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not done():
            self.reap()
            if time.monotonic() > end:
                raise RuntimeError("a process of the board does not end")
            time.sleep(0.02)

    def _processes(self) -> list[dict[str, Any]]:
        """Every process but this one, with its command as the board sees it: without the emulator in front."""
        found = []
        for folder in self.proc.glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                if argv and folder.name != "1":
                    emulated = "qemu" in Path(argv[0]).name
                    command = argv[1:] if emulated else argv
                    found.append({"pid": int(folder.name), "uid": folder.stat().st_uid, "argv": command})
        return sorted(found, key=lambda process: int(process["pid"]))


def _binfmt(interpreter: str) -> None:
    """Have the kernel hand ARM64 programs to QEMU, from an interpreter opened once (flag F): the tree needs no copy."""
    if not (BINFMT / "register").exists():
        _mount("-t", "binfmt_misc", "none", str(BINFMT))
    for entry in BINFMT.iterdir():
        if entry.name not in ("register", "status"):
            said = entry.read_text().splitlines()
            flags = next((line.split(":", 1)[1] for line in said if line.startswith("flags:")), "")
            if said[0] == "enabled" and f"magic {ELF_MAGIC}" in said and "F" in flags:
                return
    escaped = ["".join(f"\\x{text[at : at + 2]}" for at in range(0, len(text), 2)) for text in (ELF_MAGIC, ELF_MASK)]
    with contextlib.suppress(FileExistsError):  # another board that starts at this moment was first, with the same
        (BINFMT / "register").write_text(f":edgecnn-aarch64:M::{escaped[0]}:{escaped[1]}:{interpreter}:OCF")


def _mount(*arguments: str) -> None:
    _do("mount", *arguments)


def _do(*argv: str) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {ended.stderr.strip()}")


def _answer(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def serve(board: Board) -> None:
    """Do what is asked until the input ends, burying the dead meanwhile."""
    asked = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.2)
        board.reap()
        board.link_pids()
        if not ready:
            continue
        more = os.read(0, 65536)
        if not more:
            return
        asked += more
        while b"\n" in asked:
            line, asked = asked.split(b"\n", 1)
            request = json.loads(line)
            try:
                _answer(getattr(board, request.pop("do"))(**request))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                _answer({"error": str(error)})


def main() -> None:
    """Mount, say where this process is for the host, serve."""
    host_pid = int(Path("/proc/self").readlink().name)
    try:
        board = Board(json.loads(sys.argv[1]))
        board.mount()
    except (OSError, RuntimeError) as error:
        _answer({"error": str(error)})
        return
    _answer({"pid": host_pid})
    serve(board)


if __name__ == "__main__":
    main()
