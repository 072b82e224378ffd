"""Calls of the probe on a board: a request there; events and an answer back, or the error that says why not."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.measure.board.installed import InstalledProbe
from edgecnn.measure.local import JobEvent
from edgecnn.measure.transport import Completed, Limits, Transport
from edgecnn.measure.transport.ssh_errors import printable_tail
from edgecnn.measure.wire import events
from edgecnn.probe.ending import explain

STREAM_BYTES = 32 << 20
"""All events of a job together, and its small arrays."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: how long a lost board is looked for and with which pauses, how long one may say nothing, how long to
    wait for another's job there, and when a job that nobody follows ends itself."""

    reconnect_s: float = 300.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
    silence_s: float = 60.0
    busy_s: float = 60.0
    abandon_s: float = 900.0


class Agent:
    """The probe on the board called `name`. `reached` says whether it was there before; `cancelled` ends every call
    to come."""

    def __init__(self, name: str, transport: Transport, connect: Connect, *, patience: Patience) -> None:
        self.name = name
        self.transport = transport
        self.patience = patience
        self.reached = False
        self.cancelled = threading.Event()
        self._probe = InstalledProbe(name, connect)

    @property
    def python(self) -> str:
        """The interpreter there: the worker's as well, whatever a script of that name adds to it."""
        return self._probe.python

    @property
    def folder(self) -> str:
        """Where the agent keeps its files, as the transport sees it."""
        return self._probe.folder

    def ask(
        self, request: Mapping[str, Any], *, on_event: Callable[[JobEvent], None] | None = None, timeout_s: float
    ) -> dict[str, Any]:
        """One call of the probe: its `result`. The probe is put there first where it is missing.

        Raises the probe's own error, with the board's name; python-missing, python-too-old, wrong-architecture where
        none can run; bad-answer for what no probe says; and as `Transport.run`.
        """
        final, completed = self._call(request, on_event, timeout_s)
        if (final is None and self._probe.is_absent(completed)) or (final or {}).get("code") == "damaged-probe":
            self._probe.install(self.transport)
            final, completed = self._call(request, on_event, timeout_s)
        if final is None:
            raise self._died(completed, request)
        if final["event"] == "error":
            raise self._named(events.error_of(final))
        return final

    def cancel(self) -> None:
        """End the call that another thread has under way; it and all to come raise StepError cancelled."""
        self.cancelled.set()
        self.transport.abort()

    def raise_if_cancelled(self) -> None:
        """Raises StepError cancelled after `cancel`."""
        if self.cancelled.is_set():
            raise StepError("cancelled", f"{self.name}: cancelled")

    def _call(
        self, request: Mapping[str, Any], on_event: Callable[[JobEvent], None] | None, timeout_s: float
    ) -> tuple[dict[str, Any] | None, Completed]:
        last_word = request["verb"] == "cancel"
        if not last_word:
            self.raise_if_cancelled()
        conversation = _Conversation(self.name, on_event)

        def heard(line: bytes) -> None:
            if not last_word:  # a cancellation that came just before the command began has ended nothing
                self.raise_if_cancelled()
            conversation.take(line)

        try:
            silence_s = self.patience.silence_s if request["verb"] in ("start", "follow") else math.inf
            completed = self.transport.run(
                self._probe.command,
                Limits(timeout_s, STREAM_BYTES, silence_s),
                stdin=json.dumps(dict(request)).encode(),
                on_line=heard,
            )
        finally:
            self.reached = self.reached or conversation.begun
        self.reached = True
        return conversation.final, completed

    def _named(self, error: EdgecnnError) -> EdgecnnError:
        """The probe's error, said of this board, with a hint that can be typed here."""
        hint = self._probe.pip_install(error.hint) if error.code == "missing-runtime" else error.hint
        return type(error)(error.code, f"{self.name}: {error.message}", why=error.why, hint=hint)

    def _died(self, completed: Completed, request: Mapping[str, Any]) -> EdgecnnError:
        refused = self._probe.refusal(completed)
        if refused is not None:
            return refused
        stderr = printable_tail(completed.stderr)
        if completed.code < 0 and request["verb"] in ("start", "follow"):
            return StepError("connection-lost", f"the connection to {self.name} was lost", why=stderr)
        died = explain(completed.code, title=f"probe {request['verb']}", log=stderr)
        return self._named(events.error_of(died.to_dict()))


class _Conversation:
    """The lines of one call: events as they come, and the last one. What a login shell says besides is passed over."""

    def __init__(self, name: str, on_event: Callable[[JobEvent], None] | None) -> None:
        self.final: dict[str, Any] | None = None
        self._name = name
        self._on_event = on_event
        self.begun = False

    def take(self, line: bytes) -> None:
        self.begun = self.begun or line.startswith(b"{")
        if not self.begun or self.final is not None:
            return
        event = events.event_of(line, self._name)
        if event["event"] in ("result", "error"):
            self.final = event
        elif self._on_event is not None:
            self._on_event(event)
