"""Machine that sensors read: small files below a root, programs by name.

Nothing here raises; what fails says so once.
"""

from __future__ import annotations

import contextlib
import glob
import os
import subprocess
from typing import Any

from ..errors import first_line

DEVICE_TREES = ("/proc/device-tree/", "/sys/firmware/devicetree/base/")
ANSWER_S = 2.0
PATIENCE = 3
"""How long a program may take; one that takes longer so many times in a row is not asked again."""
LIMIT_BYTES = 65536
LOG_BYTES = 4 << 20
"""Of a kernel's log, whose newest lines are its last; the kernels of boards keep less."""
FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/local/bin", "opt/vc/bin")
"""Where a board keeps its programs: the search path of a remote command is often shorter."""


class Machine:
    """Files below `root`; `programs` maps a name to the command that stands for it. `troubles` collects what failed,
    one sentence for each source."""

    def __init__(self, root: str = "/", programs: dict[str, list[str]] | None = None) -> None:
        self.troubles: dict[str, str] = {}
        self._root = root
        self._programs = {} if programs is None else programs
        self._silent: dict[str, int] = {}

    def path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))

    def text(self, path: str) -> str | None:
        """The file without blanks and NULs at its ends; None when it cannot be read or is empty."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as stream:
                return stream.read(LIMIT_BYTES).strip("\0 \n") or None
        except (OSError, ValueError):  # a zone that is switched off answers EAGAIN
            return None

    def device_tree(self, name: str) -> str | None:
        """The device tree's `model`, for example `Raspberry Pi 4 Model B Rev 1.4`, or `compatible`; None on a PC."""
        return next(filter(None, (self.text(folder + name) for folder in DEVICE_TREES)), None)

    def number(self, path: str, unit: float = 1.0) -> float | None:
        """The file as a number, times `unit`."""
        return as_number(self.text(path), unit)

    def paths(self, pattern: str) -> list[str]:
        """Paths below the root that match, in order, as `text` takes them."""
        start = len(self._root.rstrip("/"))
        return sorted(path[start:] for path in glob.glob(self.path(pattern)))

    def argv(self, name: str) -> list[str] | None:
        """How to call a program; None when it is not there."""
        if name in self._programs:
            return list(self._programs[name])
        for folder in FOLDERS:
            path = self.path(os.path.join(folder, name))
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return [path]
        return None

    def ask(self, name: str, *arguments: str, most_bytes: int = LIMIT_BYTES) -> str | None:
        """What a program answers; None when it is absent, fails, or is too slow."""
        argv = self.argv(name)
        if argv is None or self._silent.get(name, 0) >= PATIENCE:
            return None
        try:
            process = subprocess.Popen(
                argv + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            self._silent[name] = PATIENCE
            self.trouble(name, first_line(error))
            return None
        try:
            out = process.communicate(timeout=ANSWER_S)[0]
        except subprocess.TimeoutExpired:
            end(process)
            self._silent[name] = self._silent.get(name, 0) + 1
            self.trouble(name, f"no answer in {ANSWER_S:g} s")
            return None
        self._silent[name] = 0
        answer = out[:most_bytes].decode("utf-8", "replace").strip()
        if process.returncode:
            reason = answer.splitlines()[0] if answer else f"exit code {process.returncode}"
            self.trouble(" ".join((name, *arguments)), reason)
            return None
        return answer

    def trouble(self, source: str, sentence: str) -> None:
        self.troubles.setdefault(source, sentence[:200])


def end(process: Any, grace_s: float = 0.2) -> None:
    """End a child of ours by its id and let go of its pipe; one that cannot be ended is left behind."""
    try:
        process.terminate()
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
    except OSError:
        pass
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nothing ends it
        process.wait(1.0)


def as_number(text: str | None, unit: float = 1.0) -> float | None:
    """`text` times `unit`; None for anything that is no finite number."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value * unit if abs(value) < float("inf") else None
