"""Fresh processes whose cost is known: CPU seconds from the kernel's accounts, peak memory from the process itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.errors import StepError

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Cost:
    """One process from start to end. `cpu_s` is user + system, imports included; `peak_rss_bytes` is None where the
    process does not tell."""

    cpu_s: float
    wall_s: float
    peak_rss_bytes: int | None


def to_dict(cost: Cost) -> dict[str, Any]:
    return asdict(cost)


def spend(argv: Sequence[str]) -> tuple[Cost, str]:
    """Run `argv` to its end: its cost and what it printed. Raises StepError with its last words when it fails.

    `os.wait4` gives this one child's accounts, where RUSAGE_CHILDREN would mix in those before it. The kernel carries
    the parent's peak over exec, so `ru_maxrss` is no measure of a small child: a job tells its own peak.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        begin = time.monotonic()
        process = subprocess.Popen(argv, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        printed, complaints = stdout.read(), stderr.read()
    if process.returncode:
        last = "\n".join(complaints.strip().splitlines()[-8:])
        raise StepError("job-failed", f"{' '.join(argv[1:4])} ended with {process.returncode}", why=last)
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, None), printed


def job(kind: str, settings: Mapping[str, Any]) -> tuple[Cost, dict[str, Any]]:
    """Run one kind of work of `work.py` in a fresh Python: its cost, and what it tells."""
    cost, printed = spend([sys.executable, str(HERE / "work.py"), kind, json.dumps(dict(settings))])
    told: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return Cost(cost.cpu_s, cost.wall_s, told.pop("peak_rss_bytes")), told
