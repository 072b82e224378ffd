"""Telemetry beside a measurement: sensors read by a process of its own, once a second, into a file of JSON lines.

The process is niced, sits on a core that the workload leaves free where there is one, and needs no numpy.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from .errors import first_line
from .events import Events
from .job import Job
from .sensors import Sensors
from .sensors.machine import end

PERIOD_S = 1.0
MOST_READINGS = 600
"""A longer measurement is read less often: the readings travel in one event, and memory stays bounded."""
NICE = 10
START_S = 15.0
"""How long to wait for the first reading: Python starts slowly on a small board."""
GRACE_S = 2.0
"""Time for the process to end what it started itself."""
LARGEST_LINE = 16384


def follow(job: Job, events: Events) -> dict[str, Any]:
    """The verb `telemetry`: write a reading a `period_s` to `output` until the process `parent` is gone or ends us.

    `at_s` of a reading is the system's monotonic clock. The event `ready` comes with the first reading taken.
    """
    path, period_s, parent = job.get("output", str), float(job.get("period_s", int, float)), job.get("parent", int)
    _step_back(job.get_or("core", None, int))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with Sensors(rails=job.get_or("rails", {}, dict), follow_s=period_s) as sensors:
        try:
            with open(path, "w", encoding="utf-8") as stream:
                sensors.sample()
                events.send("ready", sources=sensors.names)
                _write(stream, sensors, period_s, parent)
        except OSError as error:
            return {"stopped": first_line(error)}
    return {"stopped": ""}


def _step_back(core: int | None) -> None:
    """Leave the workload its core and its turn."""
    try:
        os.nice(NICE)
        if core is not None:
            os.sched_setaffinity(0, {core})
    except (OSError, AttributeError):
        return


def _write(stream: Any, sensors: Sensors, period_s: float, parent: int) -> None:
    due, reported = time.monotonic() - period_s / 2, 0
    for _ in range(2 * MOST_READINGS):
        due = max(due + period_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        if os.getppid() != parent:
            return
        at_s = round(time.monotonic(), 3)
        reading = dict(sensors.sample(), at_s=at_s)
        if len(sensors.troubles) != reported:
            reported = len(sensors.troubles)
            reading["troubles"] = sensors.troubles
        stream.write(json.dumps(reading) + "\n")
        stream.flush()


class Recorder:
    """Reads the sensors around and beside a measurement. Nothing here raises: what cannot be read is missing.

    `start` before the warm-up, `wait` before the clock starts, `stop` after it stopped; leaving the with-block ends
    the process whatever happened. Switched off, it records nothing.
    """

    def __init__(self, beside: str, *, rails: dict[str, Any], longest_s: float, on: bool) -> None:
        self._path = f"{beside}.{os.getpid()}.telemetry"
        self._rails = rails
        self._period_s = max(PERIOD_S, round(longest_s / MOST_READINGS, 1))
        self._sensors = Sensors(rails=rails) if on else None
        self._child: subprocess.Popen[bytes] | None = None
        self._sources: list[str] = []
        self._troubles: dict[str, str] = {}

    def snapshot(self) -> dict[str, Any]:
        """Everything that can be known now; takes up to a second."""
        return self._sensors.snapshot() if self._sensors is not None else {}

    def cool_down(self, limit_c: float, longest_s: float) -> float:
        """Wait until the board is at `limit_c` or cooler, `longest_s` at most; the seconds waited."""
        begin = time.monotonic()
        while self._sensors is not None:
            celsius = self._sensors.sample().get("temperature_c")
            waited_s = time.monotonic() - begin
            if celsius is None or celsius <= limit_c or waited_s >= longest_s:
                return round(waited_s, 3)
            time.sleep(min(PERIOD_S, longest_s - waited_s))
        return 0.0

    def start(self, threads: int) -> None:
        """Start the process; `threads` is how many cores the workload wants."""
        if self._sensors is None or not self._sensors.names:
            return
        job = {"verb": "telemetry", "output": self._path, "period_s": self._period_s, "parent": os.getpid()}
        job.update(rails=self._rails, core=_spare_core(threads), die_with_parent=True)
        try:
            self._child = subprocess.Popen(
                _this_probe(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert self._child.stdin is not None
            with self._child.stdin as stdin:
                stdin.write(json.dumps(job).encode())
        except OSError as error:
            self._troubles["telemetry"] = first_line(error)

    def wait(self) -> None:
        """Until the process took its first reading; it would only disturb if it started while the clock runs."""
        if self._child is None or self._child.stdout is None or self._sources:
            return
        import select

        ready, _, _ = select.select([self._child.stdout], [], [], START_S)
        line = self._child.stdout.readline(LARGEST_LINE) if ready else b""
        try:
            self._sources = json.loads(line)["sources"]
        except (ValueError, KeyError, TypeError):
            self._troubles["telemetry"] = "the process that reads the sensors did not start"
            self.stop()

    def stop(self) -> None:
        """End the process. Its readings are kept."""
        child, self._child = self._child, None
        if child is not None:
            end(child, GRACE_S)

    def readings(self, begin_s: float, end_s: float) -> list[dict[str, Any]]:
        """Those from `begin_s` to `end_s` of the monotonic clock, `t_s` counted from the first."""
        readings = []
        try:
            with open(self._path, encoding="utf-8") as stream:
                for line in stream:
                    reading = _reading(line)
                    self._troubles.update(reading.pop("troubles", {}))
                    at_s = reading.pop("at_s", None)
                    if at_s is not None and begin_s <= at_s <= end_s:
                        readings.append(dict(reading, t_s=round(at_s - begin_s, 3)))
        except OSError:
            return []
        return readings[:MOST_READINGS]

    def report(self, before: dict[str, Any], after: dict[str, Any], window_s: tuple[float, float]) -> Any:
        """What a latency result says of its sensors; None when they were switched off."""
        if self._sensors is None:
            return None
        samples = self.readings(*window_s)
        return {
            "before": before,
            "after": after,
            "samples": samples,
            "sources": self._sources or self._sensors.names,
            "period_s": self._period_s,
            "troubles": dict(self._sensors.troubles, **self._troubles),
        }

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        with contextlib.suppress(OSError):
            os.remove(self._path)
        if self._sensors is not None:
            self._sensors.close()


def _reading(line: str) -> dict[str, Any]:
    """One line; the last one may be cut."""
    try:
        reading = json.loads(line)
    except ValueError:
        return {}
    return reading if isinstance(reading, dict) else {}


def _spare_core(threads: int) -> int | None:
    """A core that the workload does not need; None when it needs them all."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1] if threads < len(usable) else None


def _this_probe() -> list[str]:
    """How to start this probe again: the archive it came in, or the package it is. Without `connection`: it needs the
    standard library only."""
    package = os.path.dirname(os.path.abspath(__file__))
    above = os.path.dirname(package)
    if os.path.isfile(above):  # a zip
        return [sys.executable, "-I", "-S", "-B", above]
    name = __name__.rsplit(".", 1)[0]
    for _ in name.split(".")[1:]:
        above = os.path.dirname(above)
    program = f"import sys; sys.path.append(sys.argv[1])\nfrom {name}.__main__ import main; sys.exit(main())"
    return [sys.executable, "-I", "-S", "-B", "-c", program, above]
