"""A job in JSON on stdin, events in JSON lines on stdout; the last one is `result` or `error`."""

from __future__ import annotations

import os
import signal
import sys
import traceback

from .errors import ProbeError, first_line
from .events import Events, take_stdout
from .job import Job
from .privacy import disable_telemetry

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""

AGENT_VERBS = ("start", "follow", "status", "cancel", "clean")
"""They need neither numpy nor the time that it takes to load."""


def main() -> int:
    """Exit code 0 after `result`, 1 after `error`."""
    disable_telemetry(os.environ)
    events = take_stdout()
    try:
        job = Job.parse(sys.stdin.read())
        if job.get_or("die_with_parent", False, bool):
            die_with_parent()
        events.send("result", **_run(job, events))
    except ProbeError as error:
        events.send("error", **error.to_dict())
        return 1
    except MemoryError:
        events.send("error", code="out-of-memory", message="the device ran out of memory", why="", hint="")
        return 1
    except Exception as error:  # the host must learn of it, whatever it is
        traceback.print_exc()
        events.send("error", code="probe-failed", message="the probe failed", why=first_line(error), hint="")
        return 1
    return 0


def die_with_parent() -> None:
    """Linux kills this process when the one that started it ends, however that ends: nobody would read the result."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):  # a Python or a C library without it
        return


def _run(job: Job, events: Events) -> dict[str, object]:
    if sys.version_info < (3, 8):  # noqa: UP036 - the board's, not this one
        raise ProbeError("python-too-old", "Python 3.8 is needed", "this is " + sys.version.split()[0])
    verb = job.get("verb", str)
    if verb in AGENT_VERBS:
        from . import agent

        return agent.VERBS[verb](job, events)
    if verb == "telemetry":  # without numpy: it runs beside a measurement
        from . import telemetry

        return telemetry.follow(job, events)
    if verb == "check":  # without numpy: that it is missing is one of the things it finds
        from .check import check

        return check(job, events)
    try:
        from .verbs import VERBS
    except ImportError as error:
        if (error.name or "").split(".")[0] != "numpy":
            raise
        raise ProbeError("missing-runtime", "numpy is missing", first_line(error), "pip install numpy") from error
    if verb not in VERBS:
        raise ProbeError("bad-job", f"no verb is called '{verb}'", hint="known: " + ", ".join(VERBS))
    return VERBS[verb](job, events)


if __name__ == "__main__":
    sys.exit(main())
