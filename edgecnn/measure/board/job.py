"""Job on a board, from the files it needs to the arrays it leaves, through every loss of connection."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.core.third_party import printable
from edgecnn.measure.board.agent import Agent
from edgecnn.measure.board.files import INLINE_BYTES, BoardFiles, largest_answer
from edgecnn.measure.local import JobEvent
from edgecnn.measure.wire import events
from edgecnn.measure.wire.fields import bad_answer

SHORT_S = 60.0
"""For a word with the agent."""
SLOWEST_BYTES_PER_S = 50_000.0
LOST = ("connection-lost", "board-silent")
OF_THE_FILE = ("cannot-load", "cannot-run", "cannot-build", "free-shape", "not-a-classifier", "too-big-for-memory")
"""Errors that are about the model, so that its name is worth a mention."""

T = TypeVar("T")


class BoardJob:
    """A job with a `name` of its own, under which it is found again."""

    def __init__(
        self, agent: Agent, store: BoardFiles, job: Mapping[str, Any], files: Mapping[str, Path], *, timeout_s: float
    ) -> None:
        self.name = secrets.token_hex(8)
        self._agent = agent
        self._store = store
        self._job = job
        self._files = files
        self._timeout_s = timeout_s
        self._on_event: Callable[[JobEvent], None] | None = None
        self._request: dict[str, Any] = {}
        self._last = -1
        self._begun = False
        self._heard = 0
        self._boot_id = ""
        self._is_another_boot = False
        self._not_copied: EdgecnnError | None = None
        self._deadline = 0.0

    def run(
        self, outputs: Mapping[str, Path], *, on_event: Callable[[JobEvent], None] | None, done: Sequence[str]
    ) -> dict[str, Any]:
        """The result; the arrays lie where `outputs` wants them. `done` are jobs that the board may forget."""
        self._on_event = on_event
        self._request = self._start_request(list(outputs), done)
        try:
            answer = self._until_done()
            result: dict[str, Any] = events.field_of(answer, "result", dict, device=self._agent.name)
            arrays = events.field_of(answer, "outputs", dict, device=self._agent.name)
            for field, path in outputs.items():
                self._save(field, events.field_of(arrays, field, dict, device=self._agent.name), path)
        except EdgecnnError as error:
            if self._agent.cancelled.is_set() or error.code in ("bad-answer", "board-sent-too-much", "board-timeout"):
                self._cancel()
            raise
        except BaseException:  # Ctrl-C, or a listener's error: nobody will follow the job
            self._cancel()
            raise
        return result

    def _start_request(self, outputs: list[str], done: Sequence[str]) -> dict[str, Any]:
        patience = self._agent.patience
        files = self._store.describe(self._files)
        sending_s = sum(file["bytes"] for file in files.values()) / SLOWEST_BYTES_PER_S
        waiting_s = patience.busy_s + patience.reconnect_s + 2 * SHORT_S
        self._deadline = time.monotonic() + self._timeout_s + sending_s + waiting_s
        return {
            "verb": "start",
            "job": dict(self._job),
            "files": files,
            "outputs": outputs,
            "python": self._agent.python,
            "client": _who(),
            "done": list(done),
            "timeout_s": self._timeout_s,
            "lock_wait_s": patience.busy_s,
            "abandon_s": patience.abandon_s,
        }

    def _until_done(self) -> dict[str, Any]:
        """Begin, send what is missing, and follow to the end."""
        sent = False
        while True:
            answer = self._through_losses(self._start_or_follow)
            state = answer.get("state")
            if state == "done":
                return answer
            if state == "missing" and self._not_copied is not None:
                raise self._not_copied
            missing = events.field_of(answer, "fields", list, device=self._agent.name)
            wanted = [field for field in missing if isinstance(field, str) and field in self._files]
            if state != "missing" or sent or wanted != missing:
                bad_answer(self._agent.name, "that files are missing which are not")
            for field in wanted:
                self._through_losses(partial(self._send, self._files[field]))
            sent = True

    def _start_or_follow(self) -> dict[str, Any]:
        request = {"verb": "follow", "after": self._last} if self._begun else self._request
        request = {**request, "id": self.name, "inline_bytes": INLINE_BYTES}
        left_s = self._deadline - time.monotonic()
        try:
            return self._agent.ask(request, on_event=self._hear, timeout_s=max(1.0, left_s))
        except EdgecnnError as error:
            raise self._about(error) from error

    def _about(self, error: EdgecnnError) -> EdgecnnError:
        """The error as one of this job: of its file, or of a board that has forgotten it."""
        if error.code == "unknown-job" and self._is_another_boot:
            return StepError("board-rebooted", f"{self._agent.name} was started anew during the job", why=error.message)
        if error.code == "unknown-job":
            return StepError("job-lost", f"{self._agent.name} no longer knows the job", hint="run it again")
        if error.code == "damaged-transfer" and self._not_copied is not None:
            return self._not_copied
        if error.code in OF_THE_FILE and "model" in self._files:
            return type(error)(error.code, f"{error.message}: {self._files['model']}", why=error.why, hint=error.hint)
        return error

    def _send(self, path: Path) -> None:
        self._say(f"copying {path.name} ({path.stat().st_size / 1e6:.1f} MB)")
        try:
            self._store.send(path, self.name)
        except StepError as error:
            if error.code != "cannot-copy":
                raise
            self._not_copied = error  # the agent knows better why, when the disk is full for example

    def _save(self, field: str, description: Mapping[str, Any], path: Path) -> None:
        raw = self._store.inline(description, largest_answer(self._files, self._timeout_s))
        if raw is None:
            raw = self._through_losses(partial(self._store.fetch, self.name, field, description["bytes"]))
        self._store.save(raw, path)

    def _hear(self, event: JobEvent) -> None:
        """Pass on each event of the worker, once."""
        self._heard += 1
        of_agent = event.get("agent") is True
        if of_agent and "seq" not in event:
            if event["event"] == "attached":
                self._begun = True
                boot_id = str(event.get("boot_id", ""))
                self._is_another_boot = self._boot_id not in ("", boot_id)
                self._boot_id = self._boot_id or boot_id
            return
        number = events.field_of(event, "seq", int, device=self._agent.name)
        if number <= self._last:
            return
        if number > self._last + 1:
            bad_answer(self._agent.name, "events with a gap in their numbers")
        self._last = number
        if not of_agent and self._on_event is not None:
            self._on_event(event)
        elif event["event"] == "waiting":
            holder = event.get("holder")
            self._say("waiting for {}'s job".format(holder.get("host", "?") if isinstance(holder, dict) else "another"))

    def _say(self, what: str) -> None:
        if self._on_event is not None:
            self._on_event({"event": "phase", "name": what})

    def _through_losses(self, action: Callable[[], T]) -> T:
        """`action`, again and again while the board is away, as long as its patience lasts."""
        pauses = list(self._agent.patience.pauses_s)
        lost_since: float | None = None
        attempts = heard = 0
        while True:
            self._agent.raise_if_cancelled()
            try:
                return action()
            except EdgecnnError as error:
                if not self._is_lost(error):
                    raise
                now = time.monotonic()
                if lost_since is None or heard != self._heard:
                    lost_since, attempts, heard = now, 0, self._heard
                    self._say("connection lost, looking for the board")
                if now - lost_since > self._agent.patience.reconnect_s or now > self._deadline:
                    self._agent.reached = False  # the next job shall not look for it as long
                    raise StepError(
                        "connection-lost",
                        f"the connection to {self._agent.name} was lost, for {now - lost_since:.0f} s now",
                        why=error.why or error.message,
                        hint=error.hint,
                    ) from error
                self._agent.cancelled.wait(pauses[min(attempts, len(pauses) - 1)])
                attempts += 1

    def _is_lost(self, error: EdgecnnError) -> bool:
        return error.code in LOST or (error.code == "ssh-refused" and self._agent.reached)

    def _cancel(self) -> None:
        with contextlib.suppress(EdgecnnError):
            self._agent.ask({"verb": "cancel", "id": self.name}, timeout_s=SHORT_S)


def _who() -> str:
    """Who asks, as the board tells others: `ann@laptop`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "?"
    return printable(f"{user}@{socket.gethostname()}")
