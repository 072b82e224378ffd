"""Doctor: what this host has installed and what of it works.

Runtimes are tried in a process of their own: a broken one may take it down.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgecnn.core import plugins
from edgecnn.core.events import Listener, Progress, ignore, timed
from edgecnn.core.packages import Package, packages
from edgecnn.core.paths import user_folder
from edgecnn.formats.registry import RuntimeCheck, known_formats
from edgecnn.probe.facts import memory_bytes
from edgecnn.probe.python import python_command
from edgecnn.probe.system import clean_environment
from edgecnn.workflows.arguments import PathLike

Status = Literal["ok", "missing", "broken"]

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `group` is core, an extra's name, runtimes, plug-ins or folders; `command`
    mends it."""

    group: str
    name: str
    status: Status
    version: str | None = None
    detail: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class HostCheckup:
    """The host and every check."""

    host: dict[str, str]
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the core works: its packages, ONNX Runtime and the folders. Extras may be missing, not broken;
        plug-ins of others may be either."""
        needed = ("core", "folders")
        return not any(
            check.status == "broken" or (check.status == "missing" and check.group in needed)
            for check in self.checks
            if check.group != "plug-ins"
        )

    @property
    def exit_code(self) -> int:
        """4 when a part of the core is missing."""
        return 0 if self.ok else 4

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}

    def groups(self) -> dict[str, list[Check]]:
        grouped: dict[str, list[Check]] = {}
        for check in self.checks:
            grouped.setdefault(check.group, []).append(check)
        return grouped

    def commands(self) -> list[str]:
        """What to type, each command once."""
        return list(dict.fromkeys(check.command for check in self.checks if check.command))


def doctor(*, out: PathLike = Path("runs"), listener: Listener = ignore) -> HostCheckup:
    """Look at the host, the packages, the runtimes and the folders. A few seconds."""
    checks = [_package(package) for package in packages()]
    step = "try the runtimes"
    with timed(listener, step):
        checked = [(item.family, item.check) for item in known_formats() if item.check is not None]
        for index, (name, check) in enumerate(checked):
            listener(Progress(step, index, len(checked), note=name))
            checks.append(_runtime(name, check))
    for plugin in plugins.broken(*plugins.GROUPS):
        checks.append(Check("plug-ins", plugin.name, "broken", detail=plugin.why, command=plugin.command))
    places = {"output": Path(out), "recipes and devices": user_folder(), "temporary files": Path(tempfile.gettempdir())}
    checks += [_folder(name, folder) for name, folder in places.items()]
    return HostCheckup(host_facts(), checks)


def host_facts() -> dict[str, str]:
    """Operating system, CPU and what decides how fast INT8 is, memory, Python."""
    size_bytes = memory_bytes()
    cpu, flags = _cpu()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": f"{cpu}, {os.cpu_count() or 1} cores",
        "int8": _int8(flags),
        "memory": f"{size_bytes / 2**30:.1f} GiB" if size_bytes else "unknown",
        "python": f"{platform.python_version()} at {sys.executable}",
    }


def _cpu() -> tuple[str, set[str]]:
    """Name and instruction flags, as the kernel tells them; empty where it does not."""
    name, flags = "", set[str]()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and not name:
            name = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = set(value.split())
    return name or platform.processor() or platform.machine(), flags


def _int8(flags: set[str]) -> str:
    """Which dot-product instructions there are: without them INT8 gains little."""
    known = {
        "avx512_vnni": "AVX512-VNNI",
        "avx_vnni": "AVX-VNNI",
        "amx_int8": "AMX",
        "asimddp": "dot product",
        "i8mm": "i8mm",
    }
    features = [word for flag, word in known.items() if flag in flags]
    if features:
        return f"fast: {', '.join(features)}"
    return "no dot-product instructions: INT8 may be no faster than FP32 here" if flags else "unknown"


def _package(package: Package) -> Check:
    group = f"extra {package.extra}" if package.extra else "core"
    if find_spec(package.module) is None:
        unavailable = next((item.unavailable() for item in known_formats() if package in item.packages), "")
        command = "" if unavailable else package.command
        return Check(group, package.distribution, "missing", detail=unavailable or "not installed", command=command)
    try:
        return Check(group, package.distribution, "ok", version=metadata.version(package.distribution))
    except metadata.PackageNotFoundError:
        return Check(group, package.distribution, "ok")


def _runtime(name: str, check: RuntimeCheck) -> Check:
    for module in check.modules:
        if find_spec(module) is None:
            return Check("runtimes", name, "missing", detail=f"{module} is not installed")
    argv, environment = python_command(check.code, options=("-W", "ignore")), clean_environment(os.environ)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return Check("runtimes", name, "broken", detail=f"no answer in {TIMEOUT_S:.0f} s")
    if done.returncode == 0:
        return Check("runtimes", name, "ok", detail=check.proves)
    said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
    command = next((package.command for package in packages() if package.module == check.modules[0]), "")
    repair = command.replace("pip install", "pip install --force-reinstall")
    return Check("runtimes", name, "broken", detail=said[-1], command=repair)


def _folder(name: str, folder: Path) -> Check:
    """Whether files can be written there, or where it would be made; nothing is left behind."""
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest) as stream:
            stream.write(b"edgecnn")
    except OSError as error:
        command = f"ls -ld {nearest}"
        return Check("folders", name, "broken", detail=f"{folder}: {error.strerror or error}", command=command)
    return Check("folders", name, "ok", detail=str(folder))
