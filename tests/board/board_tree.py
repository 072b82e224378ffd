"""The base of every emulated board: an arm64 Debian with Python and the runtimes, built once and then only read.

It lies in a cache folder named after what it was built from; a board works on a layer over it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from board_namespace import QEMU, BoardUnavailable, Namespace

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = (
    *("base-files", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "libc-bin", "procps", "sed"),
    *("tar", "util-linux", "openssh-server", "openssh-sftp-server", "python3", "libstdc++6", "libgomp1", "zlib1g"),
)
WHEELS = ("onnxruntime>=1.20", "ai-edge-litert>=2.3,<2.4", "numpy<2.3")
PLATFORMS = (*(f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)), "manylinux2014_aarch64")
PYTHON = "3.11"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
"""A plain `python3` of Debian looks there, `python3 -I` too."""
COMPILED = (
    *(
        "argparse",
        "base64",
        "contextlib",
        "ctypes",
        "dataclasses",
        "gzip",
        "hashlib",
        "importlib.util",
        "json",
        "logging",
    ),
    *("multiprocessing", "pathlib", "platform", "random", "runpy", "select", "shlex", "shutil", "signal", "socket"),
    *(
        "statistics",
        "subprocess",
        "tarfile",
        "tempfile",
        "threading",
        "typing",
        "unittest.mock",
        "urllib.parse",
        "uuid",
    ),
    *("zipfile", "zipimport", "onnxruntime", "ai_edge_litert.interpreter"),
)
"""Modules whose byte code is kept in the tree: without it every process compiles them anew, and takes twice as long."""
MERGED_USR = Path("/usr/share/mmdebstrap/hooks/merged-usr")
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    QEMU: "qemu-user-static",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "mount": "mount",
    "apt-get": "apt",
}


def base_tree() -> Path:
    """The cached base, built if there is none: about half a minute. Raises BoardUnavailable."""
    require()
    recipe = [SUITE, PACKAGES, WHEELS, PLATFORMS, PYTHON, COMPILED]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    cache = cache_folder()
    base = cache / digest
    with _locked(cache / f"{digest}.lock"):
        if not base.is_dir():
            building = cache / f"{digest}.building"
            shutil.rmtree(building, ignore_errors=True)  # of a build that was killed
            try:
                _build(building)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            building.rename(base)
    return base


def cache_folder() -> Path:
    """Where bases are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "edgecnn-emulated-board"


def require() -> None:
    """Raise BoardUnavailable with the first thing this machine lacks."""
    if sys.platform != "linux":
        raise BoardUnavailable(f"a board is emulated on Linux only, not on {sys.platform}")
    if platform.machine() != "x86_64":
        raise BoardUnavailable(f"a board is emulated on x86-64 only, not on {platform.machine()}")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if not KEYRING.is_file():
        missing.append("debian-archive-keyring")
    if missing:
        raise BoardUnavailable(f"missing: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise BoardUnavailable("mounting a board's file system needs root")


def mirror() -> str:
    """The Debian mirror that the host's own apt uses. Raises BoardUnavailable where it uses none."""
    asked = ["apt-get", "--no-release-info", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    known = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    for uri in known:
        if re.match("https?:", uri) and "debian" in urlsplit(uri).path.split("/"):
            return uri.rstrip("/")
    raise BoardUnavailable("apt knows no Debian mirror here: add one to /etc/apt/sources.list.d")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time."""
    import fcntl  # not on Windows, where tests that need no board are collected all the same

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _build(tree: Path) -> None:
    """Packages, wheels, byte code."""
    hooks = [f"--hook-directory={MERGED_USR}"] if MERGED_USR.is_dir() else []
    source = f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main"
    what = ["--variant=extract", "--architectures=arm64", f"--include={','.join(PACKAGES)}"]
    _run(["mmdebstrap", *what, *hooks, *_apt_options(), SUITE, str(tree), source], "no arm64 Debian")
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:", *platforms]
    fetch += ["--disable-pip-version-check", "--root-user-action=ignore", "--implementation=cp"]
    _run([*fetch, f"--python-version={PYTHON}", f"--target={tree / SITE}", *WHEELS], "no runtime wheels")
    _compile(tree)


def _apt_options() -> list[str]:
    """What the host's apt must be told to reach its mirror: proxies, and clocks that are off."""
    asked = ["apt-config", "dump"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    return [f"--aptopt={line}" for line in said.splitlines() if line.startswith(wanted) and '""' not in line]


def _compile(tree: Path) -> None:
    """Have the board's own Python import what its programs import, as root: it leaves the byte code in the tree."""
    folder = tree / "sys/devices/system/cpu"
    folder.mkdir(parents=True)
    for name in ("possible", "present", "online"):  # without them the runtimes warn and take their slowest kernels
        (folder / name).write_text("0\n", encoding="ascii")
    with tempfile.TemporaryDirectory(prefix="edgecnn-board-") as run:
        namespace = Namespace(tree, Path(run) / "run", core="cortex-a76", writable=True)
        try:
            said = namespace.ask("execute", argv=["python3", "-c", f"import {', '.join(COMPILED)}"], wait=300)
        finally:
            namespace.close()
    if said["rc"] != 0:
        raise BoardUnavailable(f"the board's Python cannot import its runtimes: {_essence(said['err'])}")
    shutil.rmtree(tree / "sys/devices")


def _run(argv: list[str], without: str) -> None:
    """Run a step of the build."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_TARGET"))}
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode != 0:
        raise BoardUnavailable(f"{without}: {argv[0]} ended with {ended.returncode}: {_essence(ended.stderr)}")


def _essence(said: str) -> str:
    """The first lines that say they are errors, as apt and pip write them; else the last."""
    lines = said.strip().splitlines()
    return " | ".join([line for line in lines if line.startswith(("E:", "ERROR:"))][:2] or lines[-3:])
