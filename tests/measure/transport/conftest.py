"""Boards made of this host: a folder behind LocalTransport, and a real OpenSSH server on loopback."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_transport import LocalTransport

from edgecnn.core.device import Connect
from edgecnn.measure.board import Board
from edgecnn.measure.board.agent import Patience

QUICK = Patience(reconnect_s=5.0, pauses_s=(0.05, 0.1, 0.2), silence_s=20.0, busy_s=0.0, abandon_s=30.0)
PLAN: dict[str, Any] = {
    "warmup": {"min_runs": 10, "min_s": 0.0, "max_s": 0.05, "max_runs": 10, "limit_s": 1.0},
    "measure": {"min_iterations": 20, "min_s": 0.0, "max_s": 1.0},
}
LATENCY: dict[str, Any] = {"verb": "latency", "backend": "null", "threads": 1, "sensors": False, **PLAN}
FACTS: dict[str, Any] = {"verb": "facts", "backend": "onnxruntime"}


@pytest.fixture
def latency_job() -> dict[str, Any]:
    return dict(LATENCY)


@pytest.fixture
def runtime_job() -> dict[str, Any]:
    """A job that imports `onnxruntime`, whatever that is on the board."""
    return dict(FACTS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(5000))
    return path


@pytest.fixture
def board_python(tmp_path: Path) -> Path:
    """An interpreter of its own, as in a virtual environment, that has this one's packages behind its own."""
    folder = tmp_path / "python"
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    (folder / "bin" / "python3").symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    import numpy

    (site / "all.pth").write_text(f"{Path(numpy.__path__[0]).parent}\n")
    return folder / "bin" / "python3"


@pytest.fixture
def fake_runtime(board_python: Path) -> Callable[[str], None]:
    """`fake_runtime(source)`: on the board `import onnxruntime` runs `source` instead."""

    def install(source: str) -> None:
        (site,) = (board_python.parents[1] / "lib").glob("python*/site-packages")
        (site / "onnxruntime.py").write_text(source)

    return install


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder of a local board."""
    return tmp_path / "home"


@pytest.fixture
def agent_folder(home: Path) -> Path:
    return home / ".cache" / "edgecnn"


@pytest.fixture
def make_board(home: Path, board_python: Path) -> Iterator[Callable[..., Board]]:
    """`make_board()`: a board behind LocalTransport; `transport` and `patience` may be others."""
    with contextlib.ExitStack() as opened:

        def make(**other: Any) -> Board:
            transport = other.get("transport") or LocalTransport(home, name="pi")
            connect = Connect(ssh="nowhere", python=str(other.get("python", board_python)))
            return opened.enter_context(Board("pi", transport, connect, patience=other.get("patience", QUICK)))

        yield make


class Sshd:
    """A real server, with keys of its own; `connect` leads to it without touching the user's own files."""

    def __init__(self, folder: Path, python: Path) -> None:
        self._folder = folder
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._key("client")
        self._key("host")
        (folder / "authorized_keys").write_text((folder / "client.pub").read_text())
        self.trust()
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nUsePAM no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        )
        (folder / "ssh_config").write_text(
            f"Host board\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/client\n IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n"
            " GlobalKnownHostsFile /dev/null\n"
        )

    @property
    def connect(self) -> Connect:
        config, agent = self._folder / "ssh_config", self._folder / "agent"
        return Connect(ssh="board", config=config, python=str(self._python), folder=str(agent))

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = str(shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin"))
        self._process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", str(self._folder / "sshd_config")], stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None and time.monotonic() < limit
            time.sleep(0.02)

    def stop(self) -> None:
        """No longer listen, and drop every connection."""
        self.cut()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def cut(self) -> None:
        """Drop every connection; what runs on the board goes on."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                if self._process is not None and f"PPid:\t{self._process.pid}\n" in text:
                    os.kill(int(status.parent.name), signal.SIGKILL)

    def trust(self) -> None:
        public = (self._folder / "host.pub").read_text().split()
        (self._folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")

    def distrust(self) -> None:
        (self._folder / "known_hosts").write_text("")

    def lock_out(self) -> None:
        (self._folder / "authorized_keys").write_text("")

    def change_host_key(self) -> None:
        (self._folder / "host").unlink()
        self._key("host")

    def _key(self, name: str) -> None:
        program = str(shutil.which("ssh-keygen"))
        subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)], check=True)


@pytest.fixture
def sshd(tmp_path: Path, board_python: Path) -> Iterator[Sshd]:
    if not (shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") and shutil.which("ssh")):
        pytest.skip("no OpenSSH server here: apt install openssh-server openssh-client")
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder, board_python)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def ssh_board(sshd: Sshd) -> Iterator[Callable[[], Board]]:
    from edgecnn.measure.transport.ssh import SshTransport

    with contextlib.ExitStack() as opened:

        def make() -> Board:
            transport = SshTransport(sshd.connect, name="pi")
            return opened.enter_context(Board("pi", transport, sshd.connect, patience=QUICK))

        yield make


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    return wait_until


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process has ended, or does so soon."""

    def absent(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def check(pid: int) -> bool:
        wait_until(lambda: absent(pid))
        return True

    return check


@pytest.fixture(params=["3.7", "3.6"])
def old_python(request: pytest.FixtureRequest) -> Path:
    """A Python 3 that is too old for the probe."""
    pyenv = Path.home() / ".pyenv" / "versions"
    for path in [*pyenv.glob(f"{request.param}.*/bin/python3"), shutil.which(f"python{request.param}")]:
        if path and subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0:
            return Path(path)
    pytest.skip(f"no Python {request.param} here")
