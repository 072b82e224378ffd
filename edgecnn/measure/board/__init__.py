"""Board: a `Device` whose jobs outlive the connection, whose files travel once, and whose answers are all checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgecnn.core.device import Connect, DeviceProfile
from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.board.agent import Agent, Patience
from edgecnn.measure.board.files import BoardFiles
from edgecnn.measure.board.job import SHORT_S, BoardJob
from edgecnn.measure.device import Device, ThisMachine
from edgecnn.measure.local import JobEvent
from edgecnn.measure.transport import Transport
from edgecnn.measure.transport.ssh import SshTransport


class Board:
    """A `Device` behind a transport; leaving the with-block closes it. One job at a time."""

    local = False

    def __init__(self, name: str, transport: Transport, connect: Connect, *, patience: Patience | None = None) -> None:
        self.name = name
        self._agent = Agent(name, transport, connect, patience=patience or Patience())
        self._files = BoardFiles(self._agent)
        self._finished: list[str] = []

    @property
    def copied_bytes(self) -> int:
        """Bytes of files sent so far, the probe apart."""
        return self._files.copied_bytes

    def run(
        self,
        job: Mapping[str, Any],
        *,
        files: Mapping[str, Path],
        outputs: Mapping[str, Path],
        on_event: Callable[[JobEvent], None] | None = None,
        timeout_s: float,
    ) -> dict[str, Any]:
        """As `Device.run`. A job that needs neither a runtime nor files is run at once, also beside another's."""
        if not files and not outputs and "backend" not in job:
            return self._directly(job, on_event, timeout_s)
        started = BoardJob(self._agent, self._files, job, files, timeout_s=timeout_s)
        result = started.run(outputs, on_event=on_event, done=self._finished)
        self._finished = [started.name]
        return result

    def cancel(self) -> None:
        """End the job that another thread has running, on the board too; its `run` and every later one raises
        StepError cancelled."""
        self._agent.cancel()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error: object) -> None:
        """Tidy up there when all went well, and close the connection."""
        try:
            if self._finished and not any(error) and not self._agent.cancelled.is_set():
                done, self._finished = self._finished, []
                with contextlib.suppress(EdgecnnError):
                    self._agent.ask({"verb": "clean", "done": done}, timeout_s=SHORT_S)
        finally:
            self._agent.transport.close()

    def _directly(
        self, job: Mapping[str, Any], on_event: Callable[[JobEvent], None] | None, timeout_s: float
    ) -> dict[str, Any]:
        """It only looks, so that it may be asked again when the connection breaks; it dies with the connection."""
        request = {**job, "die_with_parent": True}
        try:
            final = self._agent.ask(request, on_event=on_event, timeout_s=timeout_s)
        except StepError as error:
            if error.code != "connection-lost":
                raise
            final = self._agent.ask(request, on_event=on_event, timeout_s=timeout_s)
        return {key: value for key, value in final.items() if key not in ("seq", "event")}


def open_device(profile: DeviceProfile) -> AbstractContextManager[Device]:
    """The device of a profile: this host, or the board it says how to reach.

    Raises MissingError no-connection when it says neither.
    """
    if profile.local:
        return contextlib.nullcontext(ThisMachine())
    if profile.connect is None:
        raise MissingError(
            "no-connection",
            f"{profile.name} is a profile, no board",
            why="it does not say how to reach one",
            hint=f"edgecnn devices add {profile.name}-2 --ssh USER@HOST --like {profile.name}",
        )
    return Board(profile.name, SshTransport(profile.connect, name=profile.name), profile.connect)
