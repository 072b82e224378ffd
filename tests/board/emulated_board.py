"""A Raspberry Pi without a Raspberry Pi: ARM64 Debian under QEMU's user emulation, reached over a real OpenSSH server.

Programs and runtimes are the real builds for ARM, on the instructions of the right core. Time means nothing there, and
every sensor says what a test wants it to. To play with one: `python tests/board/emulated_board.py`, as root on Debian.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import board_files
from board_namespace import BoardProcess, BoardUnavailable, Namespace
from board_tree import base_tree

__all__ = ["BoardProcess", "BoardUnavailable", "EmulatedBoard"]

STICKY = 16
"""What `get_throttled` says now stands this many bits lower than what it says has happened since boot."""


class EmulatedBoard:
    """A board that runs from `start` to `close`; also a context manager.

    `core` chooses the board: `cortex-a76` is a Raspberry Pi 5, `cortex-a72` a Raspberry Pi 4.
    """

    host = "emulated-pi"
    """The name to give to ssh, with `ssh_config`."""

    def __init__(self, core: str = "cortex-a76") -> None:
        """Describe a board; nothing starts yet."""
        self.core = core
        self.model = board_files.MODELS[core]
        self._namespace: Namespace | None = None
        self._folder = Path()
        self._port = 0
        self._listening = False
        self._other_key = False

    def __enter__(self) -> EmulatedBoard:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def start(self) -> None:
        """Build the base if there is none, boot, listen. Raises BoardUnavailable."""
        if self._namespace is not None:
            raise RuntimeError("the board is running")
        base = base_tree()
        self._folder = Path(tempfile.mkdtemp(prefix="edgecnn-board-"))
        try:
            for name in ("client", "host", "other"):
                _make_key(self._folder / name)
            self._port = _free_port()
            self._namespace = Namespace(base, self._folder / "run", core=self.core)
            public_key = (self._folder / "client.pub").read_text(encoding="ascii")
            board_files.furnish(self.tree, self.core, port=self._port, public_key=public_key)
            for name, stands_for in (("cpuinfo", "cpuinfo"), ("boot_id", "sys/kernel/random/boot_id")):
                self._namespace.ask("bind_proc", source=str(board_files.BOARD / name), name=stands_for)
            self._write_ssh_config()
            self._install_host_key("host")
            self._reset_sensors()
            self.listen_again()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Switch off. Nothing stays: no process, no mount, no file but the cached base."""
        if self._namespace is not None:
            self._namespace.close()
            self._namespace = None
        self._listening = False
        if self._folder.name:
            shutil.rmtree(self._folder)
            self._folder = Path()

    @property
    def tree(self) -> Path:
        """The board's root directory, as root of the host sees it. A path to open, not to resolve."""
        return self._inside.tree

    @property
    def ssh_config(self) -> Path:
        """The file for `ssh -F`: it knows `host`, with its port, user, key and host key."""
        return self._folder / "ssh_config"

    def run(self, command: str, *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Have the board's shell run a command, over a connection of its own."""
        argv = ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", "-T", "--", self.host, command]
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
        )

    def device_yaml(self, name: str) -> str:
        """A device of that name for edgecnn: the profile of this kind of board, and the way to it."""
        config = json.dumps(str(self.ssh_config))  # a JSON string is one in YAML too
        return f"name: {name}\nextends: {self.model.device}\nconnect: {{ssh: {self.host}, config: {config}}}\n"

    def throttle(self, bits: int) -> None:
        """Set what `vcgencmd get_throttled` and the kernel say: bits 0 to 3 now, 16 to 19 since boot."""
        board_files.put(self.tree / self.model.firmware / "get_throttled", f"{bits:x}\n")

    def temperature(self, celsius: float) -> None:
        """Set the temperature of the chip."""
        board_files.put(self.tree / board_files.TEMPERATURE, f"{round(celsius * 1000)}\n")

    def clock(self, mhz: float, *, requested: float | None = None) -> None:
        """Set the clock the firmware measures and, if given, the one the kernel asked for (`scaling_cur_freq`)."""
        board_files.put(self.tree / board_files.MEASURED, f"{round(mhz * 1_000_000)}\n")
        if requested is not None:
            board_files.put(self.tree / board_files.REQUESTED, f"{round(requested * 1000)}\n")

    def governor(self, name: str) -> None:
        """Set the name of the frequency governor."""
        board_files.put(self.tree / board_files.GOVERNOR, f"{name}\n", mode=0o644)

    def rails(self, text: str) -> None:
        """Set what `vcgencmd pmic_read_adc` prints; nothing means that the board has no such chip."""
        board_files.put(self.tree / board_files.RAILS, text)

    def reset(self) -> None:
        """Sensors, host key and listening as they were at the start; files and processes stay as they are."""
        self._reset_sensors()
        if self._other_key:
            self._install_host_key("host")
            self._other_key = False
            self.stop_listening()
        if not self._listening:
            self.listen_again()

    def reboot(self) -> None:
        """Kill every process, take a new boot id, forget what throttling has happened, listen again. Files stay."""
        self._inside.ask("power_cut")
        with (self.tree / board_files.BOARD / "boot_id").open("r+", encoding="ascii") as stream:
            stream.write(board_files.boot_id())  # the same file: it is the one that stands for the kernel's
        said = (self.tree / self.model.firmware / "get_throttled").read_text(encoding="ascii")
        self.throttle(int(said, 16) & ((1 << STICKY) - 1))
        self.listen_again()

    def cut(self) -> None:
        """Drop every open connection now; the server goes on listening, what ran goes on running."""
        self._inside.ask("cut")

    def stop_listening(self) -> None:
        """Refuse new connections; open ones live on."""
        self._inside.ask("stop_listening")
        self._listening = False

    def listen_again(self) -> None:
        """Accept connections, at the same port."""
        self._inside.ask("listen", seconds=30)
        self._listening = True

    def change_host_key(self) -> None:
        """Become another machine at the same address, as far as ssh can tell. `reset` takes it back."""
        self._install_host_key("other")
        self._other_key = True
        self.stop_listening()
        self.listen_again()

    @contextlib.contextmanager
    def small_disk(self, path_in_tree: str, size_bytes: int) -> Iterator[Path]:
        """Mount an empty disk of that size at a path of the board, owned by `pi`; yields its path on the host."""
        self._inside.ask("mount_disk", path=path_in_tree, size=size_bytes, owner=board_files.USER)
        try:
            yield self.tree / path_in_tree.lstrip("/")
        finally:
            self._inside.ask("unmount_disk", path=path_in_tree)

    def processes(self) -> list[BoardProcess]:
        """What runs on the board, its SSH server included."""
        found = self._inside.ask("processes")["processes"]
        return [BoardProcess(each["pid"], each["uid"], tuple(each["argv"])) for each in found]

    @property
    def _inside(self) -> Namespace:
        if self._namespace is None:
            raise BoardUnavailable("the board is not started")
        return self._namespace

    def _reset_sensors(self) -> None:
        self.throttle(0)
        self.temperature(45.0)
        self.clock(self.model.max_mhz, requested=self.model.max_mhz)
        self.governor("ondemand")
        self.rails(self.model.rails)

    def _install_host_key(self, name: str) -> None:
        key = (self._folder / name).read_text(encoding="ascii")
        board_files.put(self.tree / "etc/ssh/host_key", key, mode=0o600)

    def _write_ssh_config(self) -> None:
        """How to reach the board, and nothing of the user's own settings, agent or known hosts."""
        public = (self._folder / "host.pub").read_text(encoding="ascii").split()
        known = self._folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self._port} {public[0]} {public[1]}\n", encoding="ascii")
        self.ssh_config.write_text(
            f"Host {self.host}\n  HostName 127.0.0.1\n  Port {self._port}\n  User pi\n"
            f'  IdentityFile "{self._folder / "client"}"\n  IdentitiesOnly yes\n  IdentityAgent none\n'
            f'  UserKnownHostsFile "{known}"\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n',
            encoding="utf-8",
        )


def _make_key(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> int:
    """Start a board to play with; Ctrl-C ends it."""
    words = argparse.ArgumentParser(description="An emulated Raspberry Pi to play with. Ctrl-C ends it.")
    words.add_argument("--core", choices=sorted(board_files.MODELS), default="cortex-a76")
    words.add_argument("--build-only", action="store_true", help="build the cached base and end")
    asked = words.parse_args()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    say = sys.stdout.write
    try:
        say(f"base: {base_tree()}\n")
        if asked.build_only:
            return 0
        with EmulatedBoard(asked.core) as board:
            device = board.ssh_config.with_name("emulated-pi.yaml")
            device.write_text(board.device_yaml("emulated-pi"), encoding="utf-8")
            say(f"{board.model.name}, emulated; latency there means nothing\n")
            say(f"shell:  ssh -F {board.ssh_config} {board.host}\nroot:   {board.tree}\n")
            say(f"device: {device}\n\n{device.read_text(encoding='utf-8')}\nCtrl-C ends it.\n")
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    except BoardUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
