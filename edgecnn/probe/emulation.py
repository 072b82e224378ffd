"""Emulation: whether QEMU plays this machine, program by program; then every time it measures is QEMU's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EMULATOR = "qemu-"
PROGRAM = "import sys; sys.stdin.read()"


def emulated(argv: Sequence[str] = ()) -> bool | None:
    """Whether programs here, or `argv`, run under QEMU's user emulation; None where that cannot be told.

    QEMU answers for `/proc/self`, so a process that asks about itself is told what it wants to hear. It does not
    answer for another process: a child, looked at while it starts, shows the file that is really executed.
    """
    if not sys.platform.startswith("linux") or not sys.executable:
        return None
    try:
        child = subprocess.Popen(
            argv or [sys.executable, "-I", "-S", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        executed = os.readlink(f"/proc/{child.pid}/exe")
    except OSError:
        return None
    finally:
        child.kill()
        child.communicate()
    return os.path.basename(executed).startswith(EMULATOR)
