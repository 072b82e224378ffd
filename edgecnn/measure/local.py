"""Jobs on this host: each in a fresh process of its own, never left behind."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from edgecnn.core.child_process import Limits, run_command
from edgecnn.core.errors import StepError
from edgecnn.measure.probe_archive import probe_archive
from edgecnn.measure.wire.events import error_of
from edgecnn.probe.ending import explain, tail
from edgecnn.probe.system import clean_environment

JobEvent = Mapping[str, Any]


def run_job(
    job: Mapping[str, Any],
    *,
    on_event: Callable[[JobEvent], None] | None = None,
    timeout_s: float,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run `job` in a fresh process of this Python; its `result` event as a dictionary.

    `on_event` gets every earlier event, in this thread. Raises MissingError for an absent runtime and StepError for
    the rest: the job's own error code, or probe-killed, wrong-instruction, probe-crashed, probe-timeout, or
    cancelled once another thread has set `stop`. The process group dies with the call.
    """
    final: dict[str, Any] = {}
    title = f"{job.get('backend', 'probe')} {job.get('verb', 'job')}"

    def on_line(line: bytes) -> bool:
        try:
            event = dict(json.loads(line))
        except ValueError:  # the process was ended within a line
            return True
        if event["event"] in ("result", "error"):
            final.update(event)
            return True
        if on_event is not None:
            on_event(event)
        return False

    try:
        completed = run_command(
            [sys.executable, "-B", str(probe_archive())],
            Limits(timeout_s, line_bytes=math.inf, stderr_bytes=math.inf),
            name="the job",
            stdin=json.dumps({**job, "die_with_parent": True}).encode(),
            on_line=on_line,
            env=clean_environment(os.environ),
            stop=stop,
        )
    except StepError as error:
        if error.code != "board-timeout":
            raise
        raise StepError(
            "probe-timeout",
            f"{title} did not finish in {timeout_s:g} s",
            why=error.why,
            hint="try a smaller model or a quicker profile, for example --profile smoke",
        ) from error
    if final.get("event") == "result":
        return {key: value for key, value in final.items() if key not in ("seq", "event")}
    if final.get("event") == "error":
        raise error_of(final, subject=str(job.get("model", "")))
    died = explain(completed.code, title=title, backend=str(job.get("backend", "")), log=tail(completed.stderr))
    raise error_of(died.to_dict())
