"""Device that runs a job: this host, or a board."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edgecnn.measure.local import JobEvent, run_job


class Device(Protocol):
    """Runs one job at a time, each in a fresh process.

    `name` is what the user calls it, and `local` whether it is this host.
    """

    name: str
    local: bool

    def run(
        self,
        job: Mapping[str, Any],
        *,
        files: Mapping[str, Path],
        outputs: Mapping[str, Path],
        on_event: Callable[[JobEvent], None] | None = None,
        timeout_s: float,
    ) -> dict[str, Any]:
        """Run `job` and return its `result` event.

        `files` names the fields of the job that are files: each is copied there unless a file with its content is
        there already, and the job is given its path. `outputs` names the fields that say where the probe writes an
        array: it lies at the given path when this returns. `on_event` gets every event before the last, in this
        thread. Raises EdgecnnError with the probe's code or the device's.
        """

    def cancel(self) -> None:
        """End the job that another thread has running; its `run` and every later one raises StepError cancelled."""


class ThisMachine:
    """This host. The probe is a child process that dies with the call."""

    name = "host"
    local = True

    def __init__(self) -> None:
        self._stop = threading.Event()

    def cancel(self) -> None:
        self._stop.set()

    def run(
        self,
        job: Mapping[str, Any],
        *,
        files: Mapping[str, Path],
        outputs: Mapping[str, Path],
        on_event: Callable[[JobEvent], None] | None = None,
        timeout_s: float,
    ) -> dict[str, Any]:
        paths = {field: str(path) for field, path in {**files, **outputs}.items()}
        return run_job({**job, **paths}, on_event=on_event, timeout_s=timeout_s, stop=self._stop)
