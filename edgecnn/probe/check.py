"""The verb `check`: everything there is to know of a board before it is measured on. Works without numpy."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import cpu, facts, jetpack, runtimes, system
from .errors import ProbeError, first_line
from .events import Events
from .job import Job
from .sensors.jetson import over_currents
from .sensors.linux import zones
from .sensors.machine import Machine
from .sensors.raspberry_pi import throttled

FOLDER = ".cache/edgecnn"


def check(job: Job, events: Events) -> dict[str, Any]:
    """`{"facts": ...}`: those of `facts.describe`, the state the board is in, and every runtime, tried.

    `time_s` is the board's clock at the beginning and `time_end_s` at the end: with the host's two they bound the skew.
    """
    began_s = time.time()
    machine = Machine()
    answer = dict(facts.describe(machine), **state(machine, job.get_or("folder", FOLDER, str)))
    answer.update(installation())
    answer["tensorrt"] = tensorrt()
    answer["runtimes"] = runtimes.try_all(
        lambda name, done, total: events.send("progress", note=name, done=done, total=total)
    )
    return {"facts": dict(answer, time_s=began_s, time_end_s=time.time())}


def state(machine: Machine, folder: str) -> dict[str, Any]:
    """What changes from minute to minute: clocks in MHz, Celsius, free bytes, load averages, counters since boot."""
    policies = cpu.policies(machine)
    return dict(
        jetpack.power_modes(machine),
        cpu_policies=policies,
        cpu_mhz=cpu.clocks(policies),
        governors=cpu.governors(policies),
        temperatures_c=dict(zones(machine)),
        throttled=throttled(machine),
        oc_counts=over_currents(machine),
        disk_free_bytes=free_bytes(folder),
        memory_available_bytes=system.memory_available_bytes(machine.path("/proc")),
        loadavg=list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    )


def installation() -> dict[str, Any]:
    """This Python, and what it takes to add a package to it."""
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"  # PEP 668
    in_venv = sys.prefix != sys.base_prefix
    return {
        "executable": sys.executable,
        "in_venv": in_venv,
        "externally_managed": not in_venv and marker.exists(),
        "has_pip": find_spec("pip") is not None,
        "has_venv": find_spec("venv") is not None and find_spec("ensurepip") is not None,
    }


def tensorrt() -> dict[str, str | None]:
    """Where trtexec is, its version, and what keeps it from being used."""
    try:
        from . import trtexec

        tool = trtexec.find({})
    except ImportError as error:  # numpy's, which is told elsewhere
        return {"trtexec": None, "version": None, "error": first_line(error)}
    except ProbeError as error:
        return {"trtexec": None, "version": None, "error": f"{error.message}: {error.why}"}
    return {"trtexec": tool.path, "version": tool.full_version, "error": ""}


def free_bytes(folder: str) -> int | None:
    """What may still be written to `folder`, below the home folder, or to the nearest one above it that exists."""
    path = Path.home() / folder
    nearest = next(place for place in (path, *path.parents) if place.is_dir())
    try:
        return system.free_bytes(str(nearest))
    except (OSError, AttributeError):  # no statvfs on Windows
        return None
